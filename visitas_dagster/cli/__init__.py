"""What an operator types: one module a command, and what the terminal shows."""
