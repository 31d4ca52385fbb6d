"""The roads that texts take besides SIP MESSAGE: providers' web hooks and HTTP interfaces."""
