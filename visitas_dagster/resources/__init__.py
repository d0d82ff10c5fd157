"""Connections to the world outside: the SFTP folder, the database and the local folders."""
