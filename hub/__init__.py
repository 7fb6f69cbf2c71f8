"""The service hub: the registry of devices and gateways, behind HTTP."""
