"""What is done with one file, step by step, without Dagster: the same steps serve runs, commands and tests."""
