"""What an instance does at one moment, what is wrong with it, and what is shown of the things that it works on."""
