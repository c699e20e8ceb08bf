"""`python -m kpcluigi.rehearsal.salesforce DATABASE`."""

from kpcluigi.rehearsal.salesforce.server import main

if __name__ == "__main__":
    main()
