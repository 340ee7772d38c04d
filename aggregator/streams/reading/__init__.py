"""What recorded files hold: where they are, their lines, and what an event is."""
