"""What ends a day and tells of it: the nightly close, and the reports of a day and a month."""
