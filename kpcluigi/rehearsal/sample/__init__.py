"""Sample data for the rehearsal: a small tenant-sales system, and the org that it moves to.

schema.py   the 16 Oracle tables and their columns
names.py    tenants, stores and texts, with everything that breaks a careless CSV
rows.py     how each column of each table is computed
data.py     `write_oracle`: fills the tables
targets.py  the sales targets, which go to PostgreSQL
own.py      columns of your own, made up from their mapped type
org.py      `write_org`: the objects that tables.toml asks for, with accounts and stores
"""
