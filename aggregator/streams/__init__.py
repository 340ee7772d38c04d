"""The stages of event streams: capture them, match them against rules, record them."""
