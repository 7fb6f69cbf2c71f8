"""The consumer kit: what every processor needs to be a member of a consumer group."""
