"""The processes of a real run: what starts and watches them, and the programs that they are."""
