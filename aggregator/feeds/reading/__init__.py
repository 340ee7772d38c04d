"""What a feed's body says: its time, its format, its entities."""
