"""Edge nodes of Sparkplug B: what their births say, what is missing, and who is asked for a rebirth."""
