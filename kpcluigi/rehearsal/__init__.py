"""Stand-ins for Oracle and Salesforce, sample data, and the rehearsal that joins them.

Nothing outside this package imports it, save the command line.
"""
