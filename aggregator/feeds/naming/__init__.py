"""What the data of feeds is called, on this disk and in a store."""
