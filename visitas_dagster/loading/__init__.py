"""Getting validated records into the tables: the ledger, the transaction and the ways to insert."""
