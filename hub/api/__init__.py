"""What hub answers over HTTP: a file a part."""
