"""The sections [feed_NAME], and the description of a feed for the stages that handle it."""
