"""Objects and fields of the org, and the DuckDB tables that hold their records.

Every object is one table of the database file, named like the object and with one column per
field, in the schema `main`. The catalogue stands beside it, in the schema `salesforce`:

    salesforce.objects    name, key_prefix, custom_setting
    salesforce.fields     object, position, and one column for each attribute of `Field`

Storage, by describe type:

    string, textarea, email, picklist    VARCHAR
    double       DECIMAL(precision, scale): an org computes on decimals (its SUM is exact) and only
                 prints doubles; answers are doubles here too
    boolean      BOOLEAN, never null: an unset checkbox is false
    date         DATE
    datetime     TIMESTAMP, in UTC, whole seconds: the API prints `.000`
    reference    VARCHAR, the 18-character id of the parent
    id           VARCHAR, 18 characters

`create_object` and `insert_rows` prepare a database before the server opens it; DuckDB lets one
process at a time have the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields

import duckdb

from kpcluigi.rehearsal.salesforce.ids import id_sql, make_id

TEXT_TYPES = frozenset({"string", "textarea", "email", "picklist"})
TYPES = TEXT_TYPES | {"double", "boolean", "date", "datetime", "reference"}

LONGEST_TEXT = 255
"""Characters of a text or a text area; more are a long text area (Salesforce Help, "Custom Field
Types")."""

MAX_PRECISION = 18
"""Digits of a custom number field (Salesforce Help, "Custom Field Types": Number)."""


@dataclass(frozen=True)
class Field:
    """One field of an object; the attributes are those of a describe.

    name: API name, e.g. "Net_Amount__c".
    type: describe type: string, textarea, double, boolean, date, datetime, email, picklist or
        reference.
    length: characters of a string, textarea, email or picklist.
    values: of a restricted picklist, its values, separated by "|".
    precision, scale: digits of a double in all and after the point.
    required: nillable = false.
    indexed: it has a custom index, which Salesforce support makes when asked; no describe shows it.
    reference_to, relationship: of a lookup: "Account" and "Account__r"; one that leads to several
        objects has them separated by "|", and is not covered but by the record's Id.
    """

    name: str
    type: str
    length: int = 0
    precision: int = 0
    scale: int = 0
    required: bool = False
    external_id: bool = False
    unique: bool = False
    case_sensitive: bool = False
    reference_to: str = ""
    relationship: str = ""
    values: str = ""
    indexed: bool = False

    @property
    def custom(self) -> bool:
        return self.name.endswith("__c")

    @property
    def parents(self) -> tuple[str, ...]:
        """The objects that a lookup leads to."""
        return tuple(filter(None, self.reference_to.split("|")))

    @property
    def label(self) -> str:
        """The words of the API name, as an administrator would have typed them."""
        return self.name.removesuffix("__c").replace("_", " ")

    @property
    def is_text(self) -> bool:
        return self.type in TEXT_TYPES

    @property
    def is_long_text(self) -> bool:
        """Whether it is a long text area, which is neither filtered, sorted nor aggregated."""
        return self.type == "textarea" and self.length > LONGEST_TEXT

    @property
    def is_groupable(self) -> bool:
        return self.type not in ("double", "datetime") and not self.is_long_text

    @property
    def folds_case(self) -> bool:
        """Whether values that differ in case alone are the same value."""
        return self.is_text and not self.case_sensitive

    @property
    def storage(self) -> str:
        """The DuckDB type of the field's column."""
        if self.type == "double":
            return f"DECIMAL({self.precision}, {self.scale})"
        return {"boolean": "BOOLEAN", "date": "DATE", "datetime": "TIMESTAMP"}.get(
            self.type, "VARCHAR"
        )


@dataclass(frozen=True)
class SObject:
    """One object: its own fields, and the key prefix that its ids start with.

    A hierarchy custom setting has at most one record for the org, each profile and each user.
    """

    name: str
    fields: tuple[Field, ...]
    key_prefix: str
    custom_setting: bool = False

    @property
    def custom(self) -> bool:
        return self.name.endswith("__c")

    @property
    def table(self) -> str:
        return quoted(self.name)

    @property
    def all_fields(self) -> tuple[Field, ...]:
        """System fields, then Name when it is not among the object's own, then its own."""
        hidden = {field.name for field in self.fields} | LACKING.get(self.name, frozenset())
        if self.custom_setting:
            hidden |= {"OwnerId"}
        system = (*SYSTEM_FIELDS, default_name(self))
        own = (SETUP_OWNER, *self.fields) if self.custom_setting else self.fields
        return tuple(f for f in system if f.name not in hidden) + own

    def field(self, name: str) -> Field | None:
        """The field of exactly this name."""
        return next((f for f in self.all_fields if f.name == name), None)

    def lookup(self, relationship: str) -> Field | None:
        """The reference field of exactly this relationship name."""
        return next((f for f in self.all_fields if f.relationship == relationship != ""), None)


SYSTEM_FIELDS = (
    Field("Id", "id", length=18, required=True, unique=True, case_sensitive=True),
    Field("OwnerId", "reference", length=18, required=True, reference_to="User"),
    Field("IsDeleted", "boolean", required=True),
    Field("CreatedDate", "datetime", required=True),
    Field("CreatedById", "reference", length=18, required=True, reference_to="User"),
    Field("LastModifiedDate", "datetime", required=True),
    Field("LastModifiedById", "reference", length=18, required=True, reference_to="User"),
    Field("SystemModstamp", "datetime", required=True),
)
"""What nearly every object has; the org fills them in."""

LACKING = {
    "Organization": frozenset({"OwnerId", "IsDeleted"}),
    "PermissionSet": frozenset({"OwnerId", "IsDeleted"}),
    "PermissionSetAssignment": frozenset(
        {"OwnerId", "IsDeleted", "Name", "CreatedDate", "CreatedById"}
        | {"LastModifiedDate", "LastModifiedById"}
    ),
    "Profile": frozenset({"OwnerId", "IsDeleted"}),
    "User": frozenset({"OwnerId", "IsDeleted"}),
}
"""What these objects do not have (Object Reference, each object's fields)."""

SETUP_OWNER = Field(
    "SetupOwnerId",
    "reference",
    length=18,
    required=True,
    unique=True,
    reference_to="Organization|Profile|User",
    relationship="SetupOwner",
)
"""Whose a record of a hierarchy custom setting is. An org may put its own id into an empty one;
here it has to be given."""

READ_ONLY_FIELDS = frozenset(field.name for field in SYSTEM_FIELDS)

USER_ID = make_id("005", 1)
ORGANIZATION_ID = make_id("00D", 1)


def default_name(sobject: SObject) -> Field:
    """The Name field of an object that does not describe its own."""
    if sobject.name == "Account":
        return Field("Name", "string", length=255, required=True)
    return Field("Name", "string", length=80)


def quoted(name: str) -> str:
    """A name as a DuckDB identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as a DuckDB literal."""
    return "'" + text.replace("'", "''") + "'"


def create_object(con: duckdb.DuckDBPyConnection, sobject: SObject) -> None:
    """Make the object's table and record its schema in the catalogue.

    The columns are the fields by API name, with the storage types of this module's docstring, and
    in front of them Id, OwnerId, IsDeleted, CreatedDate, CreatedById, LastModifiedDate,
    LastModifiedById, SystemModstamp and Name.

    Raises:
        ValueError: the object or one of its fields could not exist in an org.
    """
    _check(sobject)
    _create_catalogue(con)
    con.execute(
        "INSERT INTO salesforce.objects VALUES (?, ?, ?)",
        [sobject.name, sobject.key_prefix, sobject.custom_setting],
    )
    for position, field in enumerate(sobject.fields):
        marks = ", ".join("?" * (2 + len(fields(Field))))
        values = [sobject.name, position, *astuple(field)]
        con.execute(f"INSERT INTO salesforce.fields VALUES ({marks})", values)
    columns = ", ".join(f"{quoted(f.name)} {f.storage}" for f in sobject.all_fields)
    con.execute(f"CREATE TABLE {sobject.table} ({columns})")
    con.execute(f"CREATE SEQUENCE {sequence(sobject)} MINVALUE 1 START 1")


def insert_rows(con: duckdb.DuckDBPyConnection, sobject_name: str, select_sql: str) -> int:
    """Insert the rows of a DuckDB SELECT whose column names are field names.

    Rows get 18-character ids with the object's key prefix, and the system fields that the SELECT
    does not have; a custom object's missing Name becomes the id, as in an org. The row rules are
    not applied: this seeds a database, it does not load through the API.

    Returns:
        The number of rows.
    Raises:
        KeyError: there is no such object.
        ValueError: a column of the SELECT is not a field.
    """
    sobject = load_objects(con)[sobject_name]
    given = [column[0] for column in con.execute(f"DESCRIBE {select_sql}").fetchall()]
    unknown = [name for name in given if sobject.field(name) is None or name == "Id"]
    if unknown:
        raise ValueError(f"{sobject_name} has no field to insert into: {', '.join(unknown)}")
    values = ", ".join(f"CAST({_seed_value(f, given)} AS {f.storage})" for f in sobject.all_fields)
    con.execute(
        f"INSERT INTO {sobject.table} SELECT {values} FROM "
        f"(SELECT *, {id_sql(sobject.key_prefix, '_number')} AS _id FROM "
        f"(SELECT *, nextval({literal(sequence(sobject))}) AS _number FROM ({select_sql})))"
    )
    counted = con.execute(f"SELECT count(*) FROM ({select_sql})").fetchone()
    assert counted is not None
    return int(counted[0])


def load_objects(con: duckdb.DuckDBPyConnection) -> dict[str, SObject]:
    """Every object of the catalogue, by name."""
    _create_catalogue(con)
    names = ", ".join(quoted(f.name) for f in fields(Field))
    found = {}
    listed = con.execute("FROM salesforce.objects ORDER BY name").fetchall()
    for name, key_prefix, custom_setting in listed:
        rows = con.execute(
            f"SELECT {names} FROM salesforce.fields WHERE object = ? ORDER BY position", [name]
        ).fetchall()
        found[name] = SObject(name, tuple(Field(*row) for row in rows), key_prefix, custom_setting)
    return found


def sequence(sobject: SObject) -> str:
    """The sequence that numbers an object's records."""
    return f"ids_{sobject.name}"


def _seed_value(field: Field, given: Iterable[str]) -> str:
    if field.name in given:
        return quoted(field.name)
    if field.name == "Id" or field.name == "Name":
        return "_id"
    if field.type == "boolean":
        return "false"
    if field.name in READ_ONLY_FIELDS:
        return literal(USER_ID) if field.type == "reference" else UTC_NOW
    return "NULL"


UTC_NOW = "date_trunc('second', now() AT TIME ZONE 'UTC')"
"""The present second in UTC, as a DuckDB expression."""


def _create_catalogue(con: duckdb.DuckDBPyConnection) -> None:
    storage = {"str": "VARCHAR", "int": "INTEGER", "bool": "BOOLEAN"}
    columns = ", ".join(f"{quoted(f.name)} {storage[str(f.type)]}" for f in fields(Field))
    con.execute("CREATE SCHEMA IF NOT EXISTS salesforce")
    con.execute(
        "CREATE TABLE IF NOT EXISTS salesforce.objects "
        "(name VARCHAR, key_prefix VARCHAR, custom_setting BOOLEAN)"
    )
    con.execute(
        "CREATE TABLE IF NOT EXISTS salesforce.fields "
        f"(object VARCHAR, position INTEGER, {columns})"
    )


def _check(sobject: SObject) -> None:
    def refuse(field: Field, reason: str) -> None:
        raise ValueError(f"{sobject.name}.{field.name}: {reason}")

    if len(sobject.key_prefix) != 3 or not sobject.key_prefix.isalnum():
        raise ValueError(f"{sobject.name}: a key prefix has three letters or digits")
    for field in sobject.fields:
        if field.type not in TYPES:
            refuse(field, f"no such type: {field.type}")
        if field.is_text and field.length < 1:
            refuse(field, "a text has a length")
        if field.type == "double" and not 0 <= field.scale <= field.precision <= MAX_PRECISION:
            refuse(field, f"precision and scale do not fit 0..{MAX_PRECISION}")
        if field.type == "double" and field.precision < 1:
            refuse(field, "a double has a precision")
        if field.type == "reference" and not (field.reference_to and field.relationship):
            refuse(field, "a reference names its object and its relationship")
        if (field.external_id or field.unique) and not (field.is_text or field.type == "double"):
            refuse(field, f"a {field.type} is neither external id nor unique")
        if field.indexed and (field.is_long_text or field.type == "boolean"):
            refuse(field, "neither a long text area nor a checkbox gets a custom index")
        if field.values and field.type != "picklist":
            refuse(field, f"a {field.type} has no values to choose from")
