"""Wire formats of PostgreSQL: messages of pgoutput, binary values."""
