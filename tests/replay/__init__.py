"""Whether an application service loses or doubles events, however the homeserver repeats them."""
