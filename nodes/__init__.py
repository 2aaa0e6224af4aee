"""What each step does; one idea, one file."""
