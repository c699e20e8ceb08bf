"""The describe of an object and its fields, in Salesforce's shape."""

from __future__ import annotations

from typing import Any

from kpcluigi.rehearsal.salesforce.schema import READ_ONLY_FIELDS, SETUP_OWNER, Field, SObject

SOAP_TYPES = {
    "id": "tns:ID",
    "reference": "tns:ID",
    "double": "xsd:double",
    "boolean": "xsd:boolean",
    "date": "xsd:date",
    "datetime": "xsd:dateTime",
}


def describe_field(field: Field, *, is_writable: bool, is_updateable: bool) -> dict[str, Any]:
    """One entry of a describe's `fields`."""
    writable = is_writable and field.name not in READ_ONLY_FIELDS
    is_key = field.name == "Id"
    return {
        "aggregatable": field.type != "boolean" and not field.is_long_text,
        "aiPredictionField": False,
        "autoNumber": False,
        # Three bytes for a character (SOAP API Developer Guide, "Field", byteLength).
        "byteLength": 18 if field.type in ("id", "reference") else field.length * 3,
        "calculated": False,
        "cascadeDelete": False,
        # Recorded: an Id shows neither case nor uniqueness.
        "caseSensitive": field.case_sensitive and not is_key,
        "createable": writable,
        "custom": field.custom,
        "defaultValue": False if field.type == "boolean" else None,
        "defaultedOnCreate": field.type == "boolean" or field.name in READ_ONLY_FIELDS,
        "dependentPicklist": False,
        "deprecatedAndHidden": False,
        "digits": 0,
        "encrypted": False,
        "externalId": field.external_id,
        "filterable": not field.is_long_text,
        "groupable": field.is_groupable,
        "htmlFormatted": False,
        "idLookup": is_key or field.external_id,
        "label": field.label,
        "length": 18 if field.type in ("id", "reference") else field.length,
        "name": field.name,
        "nameField": field.name == "Name",
        "nillable": not (field.required or field.type == "boolean"),
        "permissionable": field.custom and not field.required,
        "picklistValues": [
            {"active": True, "defaultValue": False, "label": v, "validFor": None, "value": v}
            for v in filter(None, field.values.split("|"))
        ],
        "polymorphicForeignKey": len(field.parents) > 1,
        "precision": field.precision,
        "queryByDistance": False,
        "referenceTo": list(field.parents),
        "relationshipName": field.relationship or None,
        "restrictedPicklist": bool(field.values),
        "scale": field.scale,
        "soapType": SOAP_TYPES.get(field.type, "xsd:string"),
        "sortable": not field.is_long_text,
        "type": field.type,
        "unique": field.unique and not is_key,
        "updateable": writable and is_updateable and field != SETUP_OWNER,
    }


def describe_global(
    sobject: SObject, base: str, *, is_writable: bool, is_updateable: bool
) -> dict[str, Any]:
    """One entry of the list of objects."""
    path = f"{base}/sobjects/{sobject.name}"
    label = sobject.name.removesuffix("__c").replace("_", " ")
    return {
        "createable": is_writable,
        "custom": sobject.custom,
        "customSetting": sobject.custom_setting,
        "deletable": is_writable,
        "keyPrefix": sobject.key_prefix,
        "label": label,
        "labelPlural": f"{label}s",
        "name": sobject.name,
        "queryable": True,
        "retrieveable": True,
        "updateable": is_writable and is_updateable,
        "urls": {"sobject": path, "describe": f"{path}/describe", "rowTemplate": f"{path}/{{ID}}"},
    }


def describe(
    sobject: SObject, base: str, *, is_writable: bool, is_updateable: bool
) -> dict[str, Any]:
    """The body of /sobjects/{o}/describe."""
    fields = [
        describe_field(field, is_writable=is_writable, is_updateable=is_updateable)
        for field in sobject.all_fields
    ]
    return {
        **describe_global(sobject, base, is_writable=is_writable, is_updateable=is_updateable),
        "childRelationships": [],
        "fields": fields,
        "recordTypeInfos": [],
    }
