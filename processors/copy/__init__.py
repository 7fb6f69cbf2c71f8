"""From one topic to another, exactly once: the smallest processor on the consumer kit."""
