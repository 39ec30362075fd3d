"""Where taper meets the outside: the torch alias, and formats of other libraries."""
