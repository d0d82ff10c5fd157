"""What `visitas demo` embeds so that the platform can be tried with nothing installed around it.

The SFTP server on loopback and the invented reports belong here; the platform's own work on reports does not.
"""
