"""SOQL over HTTP: what it answers, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rehearsal.salesforce.standin_org import OrgClient

HEADER = (
    "External_ID__c,Net_Amount__c,Quantity__c,Is_Void__c,Sales_Date__c,Created_At__c,Remark__c,"
    "Account__r.Tenant_Code__c\n"
)
ROWS = """\
soql-1,0.1,1,true,2024-01-01,2024-01-01T00:00:00Z,Alpha,T1
soql-2,0.2,2,false,2024-02-01,2024-02-01T10:00:00Z,beta,T1
soql-3,,3,false,2024-03-01,2024-03-01T00:00:00Z,it's 100% \\ done,T2
soql-4,0.7,,false,,,,
"""
OURS = "External_ID__c LIKE 'soql-%'"


@pytest.fixture
def rows(org: OrgClient) -> OrgClient:
    job = org.load(HEADER + ROWS)
    assert job["numberRecordsFailed"] == 0, org.errors(job["id"])
    return org


@pytest.mark.parametrize(
    ("condition", "keys"),
    [
        ("External_ID__c = 'SOQL-1'", "1"),
        ("Remark__c = 'ALPHA'", "1"),
        ("Remark__c != 'alpha'", "234"),
        ("Remark__c <> 'alpha'", "234"),
        ("Remark__c = null", "4"),
        ("Remark__c = ''", "4"),
        ("Remark__c != NULL", "123"),
        ("Remark__c IN ('alpha', 'Beta')", "12"),
        ("Remark__c NOT IN ('alpha', 'Beta')", "34"),
        ("Remark__c LIKE 'a%'", "1"),
        ("Remark__c LIKE '_eta'", "2"),
        (r"Remark__c LIKE '%100\%%'", "3"),
        (r"Remark__c LIKE '%alph\%%'", ""),
        (r"Remark__c = 'it\'s 100% \\ done'", "3"),
        ("NOT Remark__c LIKE 'a%'", "234"),
        ("Net_Amount__c > 0.1", "24"),
        ("Net_Amount__c >= 0.1", "124"),
        ("Net_Amount__c < 0.2", "1"),
        ("Net_Amount__c = 0.70", "4"),
        ("NOT (Net_Amount__c < 0.2)", "234"),
        ("Quantity__c IN (1, 3)", "13"),
        ("Is_Void__c = true", "1"),
        ("Is_Void__c = FALSE", "234"),
        ("Sales_Date__c = 2024-02-01", "2"),
        ("Sales_Date__c >= 2024-02-01 AND Sales_Date__c < 2024-03-01", "2"),
        ("Created_At__c > 2024-02-01T00:00:00Z", "23"),
        ("Created_At__c = 2024-02-01T17:00:00%2B07:00", "2"),
        ("Created_At__c = 2024-02-01T17:00:00.000%2B0700", "2"),
        ("(Quantity__c = 1 OR Quantity__c = 2) AND Is_Void__c = false", "2"),
        ("Account__r.Tenant_Code__c = 't1'", "12"),
        ("account__R.tenant_code__C = 'T2'", "3"),
        ("Account__r.Tenant_Code__c = null", "4"),
    ],
)
def test_conditions(rows: OrgClient, condition: str, keys: str) -> None:
    soql = f"SELECT External_ID__c FROM KPS_Sales__c WHERE {OURS} AND ({condition}) ORDER BY Name"
    soql = soql.replace("%2B", "+")
    found = {record["External_ID__c"] for record in rows.query(soql)["records"]}
    assert found == {f"soql-{key}" for key in keys}


def test_records_have_attributes_and_nested_parents(rows: OrgClient) -> None:
    answer = rows.query(
        "select id, external_id__c, Account__r.Name, Account__r.Tenant_Code__c "
        f"from kps_sales__c where {OURS} order by External_ID__c desc limit 2 offset 1"
    )
    assert (answer["totalSize"], answer["done"]) == (2, True)
    first, second = answer["records"]
    assert first["attributes"]["url"].endswith(f"/sobjects/KPS_Sales__c/{first['Id']}")
    assert (first["External_ID__c"], second["External_ID__c"]) == ("soql-3", "soql-2")
    account = first["Account__r"]
    assert account["attributes"]["type"] == "Account"
    assert (account["Name"], account["Tenant_Code__c"]) == ("Tenant 2", "T2")


@pytest.mark.parametrize(
    ("select", "tail", "records"),
    [
        ("COUNT(Id) c, COUNT(Net_Amount__c)", "", [{"c": 4, "expr0": 3}]),
        ("SUM(Net_Amount__c) s", "", [{"s": 1.0}]),
        ("MIN(Net_Amount__c), MAX(Net_Amount__c)", "", [{"expr0": 0.1, "expr1": 0.7}]),
        ("AVG(Quantity__c) a", "", [{"a": 2.0}]),
        ("COUNT_DISTINCT(Account__c) n", "", [{"n": 2}]),
        ("MAX(Sales_Date__c) d", "", [{"d": "2024-03-01"}]),
        (
            "MIN(Created_At__c) a, MAX(Created_At__c) z, COUNT(Created_At__c) n",
            "",
            [{"a": "2024-01-01T00:00:00.000+0000", "z": "2024-03-01T00:00:00.000+0000", "n": 3}],
        ),
        ("COUNT(Account__c), COUNT(Remark__c)", "", [{"expr0": 3, "expr1": 3}]),
        ("MIN(Remark__c) a, MAX(Quantity__c) z", "", [{"a": "Alpha", "z": 3.0}]),
        (
            "Account__r.Tenant_Code__c, COUNT(Id) n",
            "GROUP BY Account__r.Tenant_Code__c ORDER BY Account__r.Tenant_Code__c",
            [
                {"Tenant_Code__c": None, "n": 1},
                {"Tenant_Code__c": "T1", "n": 2},
                {"Tenant_Code__c": "T2", "n": 1},
            ],
        ),
    ],
)
def test_aggregates(rows: OrgClient, select: str, tail: str, records: list[dict[str, Any]]) -> None:
    answer = rows.query(f"SELECT {select} FROM KPS_Sales__c WHERE {OURS} {tail}")
    wanted = [{"attributes": {"type": "AggregateResult"}, **record} for record in records]
    assert answer["records"] == wanted


def test_count_has_a_size_and_no_records(rows: OrgClient) -> None:
    answer = rows.query(f"SELECT COUNT() FROM KPS_Sales__c WHERE {OURS}")
    assert answer == {"totalSize": 4, "done": True, "records": []}


def test_nulls_come_first_unless_told(rows: OrgClient) -> None:
    def order(tail: str) -> str:
        soql = f"SELECT External_ID__c FROM KPS_Sales__c WHERE {OURS} ORDER BY {tail}"
        return "".join(r["External_ID__c"][-1] for r in rows.query(soql)["records"])

    assert order("Net_Amount__c") == "3124"
    assert order("Net_Amount__c DESC") == "3421"
    assert order("Net_Amount__c ASC NULLS LAST") == "1243"


def test_pages_of_2000_records(org: OrgClient) -> None:
    org.load("External_ID__c\n" + "".join(f"page-{i:05}\n" for i in range(4500)))
    answer = org.query(
        "SELECT External_ID__c FROM KPS_Sales__c WHERE External_ID__c LIKE 'page-%' "
        "ORDER BY External_ID__c DESC LIMIT 4400"
    )
    sizes, keys = [], []
    while True:
        assert answer["totalSize"] == 4400
        sizes.append(len(answer["records"]))
        keys += [r["External_ID__c"] for r in answer["records"]]
        assert answer["done"] == ("nextRecordsUrl" not in answer)
        if answer["done"]:
            break
        following = org.standin.url + answer["nextRecordsUrl"]
        answer = org.session.get(following, timeout=10).json()
    assert sizes == [2000, 2000, 400]
    assert keys == [f"page-{i:05}" for i in reversed(range(100, 4500))]
    unknown = org.request("GET", "/query/01g5i0000000999AAA-2000")
    assert unknown.json()[0]["errorCode"] == "INVALID_QUERY_LOCATOR"


@pytest.mark.parametrize(
    ("soql", "code", "part"),
    [
        ("", "MALFORMED_QUERY", "A query string has to be specified"),
        ("SELECT FROM Account", "MALFORMED_QUERY", "unexpected token: 'FROM'"),
        ("SELECT Id Account", "MALFORMED_QUERY", "unexpected token: '<EOF>'"),
        ("SELECT Id FROM Account WHERE", "MALFORMED_QUERY", "unexpected token: '<EOF>'"),
        ("SELECT Id FROM Account LIMIT x", "MALFORMED_QUERY", "unexpected token: 'x'"),
        (
            "SELECT Id FROM Account WHERE Name = 'a' AND Name = 'b' OR Name = 'c'",
            "MALFORMED_QUERY",
            "unexpected token: 'OR'",
        ),
        (
            "SELECT Id FROM Account WHERE Name = TODAY",
            "MALFORMED_QUERY",
            "unexpected token: 'TODAY'",
        ),
        ('SELECT Id FROM Account WHERE Name = "x"', "MALFORMED_QUERY", "no viable alternative"),
        ("SELECT Id FROM Account HAVING Id = '1'", "MALFORMED_QUERY", "unexpected token: 'HAVING'"),
        ("SELECT FORMAT(Name) FROM Account", "MALFORMED_QUERY", "does not cover FORMAT()"),
        ("SELECT COUNT(), Id FROM Account", "MALFORMED_QUERY", "COUNT()"),
        (
            "SELECT Name, COUNT(Id) FROM Account",
            "MALFORMED_QUERY",
            "Field must be grouped or aggregated: Name",
        ),
        ("SELECT Id FROM Nobody", "INVALID_TYPE", "sObject type 'Nobody' is not supported."),
        (
            "SELECT Foo__c FROM Account",
            "INVALID_FIELD",
            "ERROR at Row:1:Column:8\nNo such column 'Foo__c' on entity 'Account'.",
        ),
        (
            "SELECT Boss__r.Name FROM Account",
            "INVALID_FIELD",
            "Didn't understand relationship 'Boss__r' in field path.",
        ),
        ("SELECT Id, Id FROM Account", "INVALID_FIELD", "duplicate field selected: Id"),
        (
            "SELECT Id FROM Account WHERE CreatedDate > '2024-01-01T00:00:00Z'",
            "INVALID_FIELD",
            "value of filter criterion for field 'CreatedDate' must be of type dateTime and should "
            "not be enclosed in quotes",
        ),
        (
            "SELECT Id FROM Account WHERE CreatedDate > 2024-01-01",
            "INVALID_FIELD",
            "must be of type dateTime",
        ),
        (
            "SELECT Id FROM Account WHERE Tenant_Code__c = 5",
            "INVALID_FIELD",
            "must be of type string and should be enclosed in quotes",
        ),
        (
            "SELECT Id FROM Account WHERE Rank__c = '5'",
            "INVALID_FIELD",
            "must be of type double and should not be enclosed in quotes",
        ),
        (
            "SELECT Id FROM Account WHERE CreatedDate > 2024-13-01T00:00:00Z",
            "MALFORMED_QUERY",
            "Invalid datetime",
        ),
        *(
            (
                f"SELECT {function}({field}) FROM KPS_Sales__c",
                "MALFORMED_QUERY",
                f"field {field} does not support aggregate operator {function}",
            )
            for field, functions in (
                ("Name", "SUM AVG"),
                ("Sales_Date__c", "SUM AVG"),
                ("Created_At__c", "SUM"),
                ("Account__c", "AVG"),
                ("Remark__c", "SUM"),
                ("Is_Void__c", "COUNT MAX"),
                ("Notes__c", "COUNT COUNT_DISTINCT MIN"),
            )
            for function in functions.split()
        ),
        (
            "SELECT COUNT(Id) n, MAX(Name) N FROM Account",
            "MALFORMED_QUERY",
            "duplicate alias: N",
        ),
        (
            "SELECT Name, MAX(Rank__c) name FROM Account GROUP BY Name",
            "MALFORMED_QUERY",
            "duplicate alias: name",
        ),
        ("SELECT COUNT(Id) last FROM Account", "MALFORMED_QUERY", "unexpected token: 'last'"),
        ("SELECT COUNT(Id) limit FROM Account", "MALFORMED_QUERY", "unexpected token: 'limit'"),
        (
            f"SELECT COUNT(Id) {'x' * 26} FROM Account",
            "MALFORMED_QUERY",
            f"alias is too long, maximum of 25 characters: {'x' * 26}",
        ),
        (
            "SELECT Name n FROM Account",
            "MALFORMED_QUERY",
            "only aggregate expressions use field aliasing",
        ),
        (
            "SELECT COUNT(Name) FROM Account GROUP BY Name",
            "MALFORMED_QUERY",
            "Grouped field should not be aggregated: Name",
        ),
        (
            "SELECT COUNT(Id) FROM Account LIMIT 1",
            "MALFORMED_QUERY",
            "Non-grouped query that uses overall aggregate functions cannot also use LIMIT",
        ),
        (
            "SELECT COUNT(Id) FROM Account GROUP BY Name ORDER BY Rank__c",
            "MALFORMED_QUERY",
            "Ordered field must be grouped or aggregated: Rank__c",
        ),
        (
            "SELECT COUNT(Id) FROM KPS_Sales__c GROUP BY Net_Amount__c",
            "MALFORMED_QUERY",
            "field 'Net_Amount__c' can not be grouped in a query call",
        ),
        (
            "SELECT Id FROM KPS_Sales__c ORDER BY Notes__c",
            "MALFORMED_QUERY",
            "field 'Notes__c' can not be sorted in a query call",
        ),
        (
            "SELECT Id FROM KPS_Sales__c WHERE Notes__c LIKE 'a%'",
            "INVALID_FIELD",
            "field 'Notes__c' can not be filtered in a query call",
        ),
        ("SELECT Id FROM Account WHERE Id = 'x'", "INVALID_QUERY_FILTER_OPERATOR", "invalid ID"),
        (
            "SELECT Id FROM Account OFFSET 2001",
            "NUMBER_OUTSIDE_VALID_RANGE",
            "Maximum SOQL offset allowed is 2000",
        ),
    ],
)
def test_refusals(org: OrgClient, soql: str, code: str, part: str) -> None:
    answer = org.request("GET", "/query/", params={"q": soql})
    assert answer.status_code == 400
    (error,) = answer.json()
    assert error["errorCode"] == code
    assert part in error["message"]


def test_an_aggregate_of_more_than_2000_groups_is_refused(org: OrgClient) -> None:
    org.load("External_ID__c\n" + "".join(f"group-{i}\n" for i in range(2001)))
    soql = "SELECT External_ID__c FROM KPS_Sales__c GROUP BY External_ID__c"
    answer = org.request("GET", "/query", params={"q": soql})
    assert answer.json()[0]["errorCode"] == "EXCEEDED_ID_LIMIT"
