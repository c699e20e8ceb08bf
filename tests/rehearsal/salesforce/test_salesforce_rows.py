"""Row rules: what is stored, and what is refused in whose words. row_rules.txt has the values."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

from tests.rehearsal.salesforce.standin_org import OrgClient

RULES = [
    [part.strip() for part in line.split("|")]
    for line in (Path(__file__).parent / "row_rules.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


def spelled_out(text: str) -> str:
    text = re.sub(r"<(\d+) x (.)>", lambda m: int(m[1]) * m[2], text)
    return text.replace("~space~", " ")


def to_csv(*rows: list[str]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def test_every_line_of_the_rules_table(org: OrgClient) -> None:
    by_field = defaultdict(list)
    for number, (field, text, expected) in enumerate(RULES):
        by_field[field].append((f"rule-{number}", spelled_out(text), spelled_out(expected)))
    found, wanted = {}, {}
    for field, rules in by_field.items():
        lines = [[key, text.replace("\\n", "\n")] for key, text, _ in rules]
        job = org.load(to_csv(["External_ID__c", field], *lines))
        assert job["state"] == "JobComplete", job
        errors = org.errors(job["id"])
        stored = org.query(
            f"SELECT External_ID__c, {field} FROM KPS_Sales__c WHERE External_ID__c LIKE 'rule-%'"
        )["records"]
        values = {r["External_ID__c"]: r.get(field) for r in stored}
        for key, text, expected in rules:
            name = f"{field} = {text[:40]}"
            is_error = re.match(r"[A-Z_]+:", expected) is not None
            wanted[name] = expected if is_error else json.loads(expected)
            found[name] = errors[key] if key in errors else values[key]
    assert found == wanted


def test_a_required_field_that_is_missing_or_emptied_is_named(org: OrgClient) -> None:
    data = "Key__c,Needed__c,Also_Needed__c\nr1,x,1\nr2,,2\nr3,,\n"
    job = org.load(data, "Strict__c", externalIdFieldName="Key__c")
    failed = {r["Key__c"]: r["sf__Error"] for r in org.rows(job["id"], "failedResults")}
    assert failed == {
        "r2": "REQUIRED_FIELD_MISSING:Required fields are missing: [Needed__c]:Needed__c --",
        "r3": "REQUIRED_FIELD_MISSING:Required fields are missing: [Needed__c, Also_Needed__c]:"
        "Needed__c,Also_Needed__c --",
    }
    job = org.load("Key__c,Needed__c\nr1,#N/A\nr4,y\n", "Strict__c", externalIdFieldName="Key__c")
    failed = {r["Key__c"]: r["sf__Error"] for r in org.rows(job["id"], "failedResults")}
    assert failed == {
        "r1": "REQUIRED_FIELD_MISSING:Required fields are missing: [Needed__c]:Needed__c --",
        "r4": "REQUIRED_FIELD_MISSING:Required fields are missing: [Also_Needed__c]:"
        "Also_Needed__c --",
    }
    job = org.load("Key__c,Needed__c\nr1,z\n", "Strict__c", externalIdFieldName="Key__c")
    assert job["numberRecordsFailed"] == 0


def test_empty_leaves_a_field_alone_and_the_null_mark_empties_it(org: OrgClient) -> None:
    header = "External_ID__c,Store_Code__c,Net_Amount__c,Is_Void__c\n"
    org.load(header + "keep,S1,5,true\nclear,S1,5,true\n")
    org.load(header + "keep,,,\nclear,#N/A,#N/A,#N/A\n")
    records = org.query(
        "SELECT Store_Code__c, Net_Amount__c, Is_Void__c FROM KPS_Sales__c "
        "WHERE External_ID__c IN ('keep', 'clear') ORDER BY External_ID__c DESC"
    )["records"]
    values = [[v for k, v in r.items() if k != "attributes"] for r in records]
    assert values == [["S1", 5.0, True], [None, None, False]]


def test_external_ids_match_without_regard_to_case_unless_the_field_says_so(
    org: OrgClient,
) -> None:
    org.load("External_ID__c,Remark__c\nCase-A,1\n")
    job = org.load("External_ID__c,Remark__c\ncase-a,2\n")
    (row,) = org.rows(job["id"], "successfulResults")
    assert row["sf__Created"] == "false"
    assert org.value("SELECT Remark__c FROM KPS_Sales__c WHERE External_ID__c = 'CASE-A'") == "2"

    line = "Key__c,Needed__c,Also_Needed__c\n{},x,1\n"
    for key in ("cs-a", "CS-A"):
        job = org.load(line.format(key), "Strict__c", externalIdFieldName="Key__c")
        (row,) = org.rows(job["id"], "successfulResults")
        assert row["sf__Created"] == "true"


def test_an_external_id_twice_in_one_batch_fails_every_such_row(org: OrgClient) -> None:
    job = org.load("External_ID__c,Remark__c\ntwin,1\nTWIN,2\nsingle,3\n")
    assert (job["numberRecordsProcessed"], job["numberRecordsFailed"]) == (3, 2)
    assert org.errors(job["id"]) == {
        "twin": "DUPLICATE_VALUE:Duplicate external id specified: twin:External_ID__c --",
        "TWIN": "DUPLICATE_VALUE:Duplicate external id specified: TWIN:External_ID__c --",
    }


def test_an_empty_external_id_is_a_missing_argument(org: OrgClient) -> None:
    job = org.load("External_ID__c,Remark__c\n,1\n#N/A,2\n")
    assert {r["sf__Error"] for r in org.rows(job["id"], "failedResults")} == {
        "MISSING_ARGUMENT:External_ID__c not specified:External_ID__c --"
    }


def test_an_ambiguous_external_id_names_the_records(org: OrgClient) -> None:
    job = org.load(
        "Group_Code__c,Name\nTWICE,x\nG7,y\n", "Account", externalIdFieldName="Group_Code__c"
    )
    (row,) = org.rows(job["id"], "failedResults")
    assert re.fullmatch(
        r"DUPLICATE_EXTERNAL_ID:Group_Code__c: more than one record found for external id field: "
        r"\[001\w{15}, 001\w{15}\]:Group_Code__c --",
        row["sf__Error"],
    )


def test_a_unique_field_names_the_record_that_has_the_value(org: OrgClient) -> None:
    header = "External_ID__c,Receipt_No__c\n"
    job = org.load(header + "u1,R-1\n")
    (first,) = org.rows(job["id"], "successfulResults")
    job = org.load(header + "u1,r-1\nu2,r-1\nu3,R-2\nu4,R-2\n")
    third = next(r for r in org.rows(job["id"], "successfulResults") if r["External_ID__c"] == "u3")
    text = "DUPLICATE_VALUE:duplicate value found: Receipt_No__c duplicates value on record with id"
    assert org.errors(job["id"]) == {
        "u2": f"{text}: {first['sf__Id'][:15]}:--",
        "u4": f"{text}: {third['sf__Id'][:15]}:--",
    }


def test_lookups_by_external_id_and_by_id(org: OrgClient) -> None:
    account = org.value("SELECT Id FROM Account WHERE Tenant_Code__c = 'T3'")
    org.load("External_ID__c,Account__r.Tenant_Code__c,Store__r.Store_Code__c\nlk1,t3,S4\n")
    org.load(f"External_ID__c,Account__c\nlk2,{account[:15]}\n")
    org.load("External_ID__c,Account__r.Rank__c\nlk3,3.0\n")
    records = org.query(
        "SELECT Account__c, Account__r.Tenant_Code__c, Store__r.Store_Code__c FROM KPS_Sales__c "
        "WHERE External_ID__c LIKE 'lk_' ORDER BY External_ID__c"
    )["records"]
    assert [r["Account__c"] for r in records] == [account] * 3
    assert [r["Account__r"]["Tenant_Code__c"] for r in records] == ["T3"] * 3
    assert records[0]["Store__r"]["Store_Code__c"] == "S4"
    assert records[1]["Store__r"] is None


def test_insert_update_and_delete(org: OrgClient) -> None:
    job = org.load("External_ID__c,Remark__c\niud1,a\niud2,b\n", operation="insert")
    ids = {r["External_ID__c"]: r["sf__Id"] for r in org.rows(job["id"], "successfulResults")}
    job = org.load("External_ID__c,Remark__c\nIUD1,c\n", operation="insert")
    assert org.errors(job["id"])["IUD1"].startswith("DUPLICATE_VALUE:duplicate value found: ")

    gone = ids["iud1"][:-4] + "zAAA"
    job = org.load(f"Id,Remark__c\n{ids['iud1']},new\n{gone},x\n", operation="update")
    failed = org.rows(job["id"], "failedResults")
    assert len(failed) == 1
    assert org.value("SELECT Remark__c FROM KPS_Sales__c WHERE External_ID__c = 'iud1'") == "new"

    job = org.load(f"Id\n{ids['iud2']}\n", operation="delete")
    assert job["numberRecordsFailed"] == 0
    count = org.query("SELECT COUNT() FROM KPS_Sales__c WHERE External_ID__c LIKE 'iud_'")
    assert count["totalSize"] == 1


def test_a_record_over_400000_characters_is_refused(org: OrgClient) -> None:
    header = "External_ID__c,Notes__c,Remark__c,Store_Code__c,Receipt_No__c\n"
    long = "n" * 131_000
    job = org.load(header + f"long,{long},{long},{long},{long}\n")
    assert org.errors(job["id"]) == {"long": "STRING_TOO_LONG:Record exceeds 400000 characters:--"}


@pytest.mark.parametrize("object_name", ["KPS_Sales__c", "Account"])
def test_ids_of_new_records_are_valid_and_distinct(org: OrgClient, object_name: str) -> None:
    from kpcluigi.rehearsal.salesforce.ids import to_18

    key = {"KPS_Sales__c": "External_ID__c", "Account": "Tenant_Code__c"}[object_name]
    data = f"{key},Name\n" + "".join(f"id-{i},n\n" for i in range(3000))
    job = org.load(data, object_name, externalIdFieldName=key)
    ids = {row["sf__Id"] for row in org.rows(job["id"], "successfulResults")}
    assert len(ids) == 3000
    assert all(to_18(i[:15]) == i for i in ids)
