"""What asks for runs when files arrive."""
