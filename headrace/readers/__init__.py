"""Files of sensor readings as tables: a file here for each format, and one seam. Nothing is sent or stored here."""
