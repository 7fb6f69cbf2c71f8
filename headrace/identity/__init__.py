"""How a process proves who it is, and checks whom it speaks to: TLS, tokens, credentials of clouds."""
