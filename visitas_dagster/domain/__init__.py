"""What a report is and means, pure.

Rules of the contract belong here; Dagster, SQL, SFTP and Spark do not.
"""
