"""Looking for what persons must be told of, and telling them: once when it begins, once when it is over."""
