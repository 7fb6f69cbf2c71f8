"""The pages that hub serves to people."""
