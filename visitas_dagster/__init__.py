"""The platform that takes visit reports from an SFTP server into SQL tables, exactly once."""
