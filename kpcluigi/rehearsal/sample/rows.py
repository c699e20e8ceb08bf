"""How each column of each sample table is computed: DuckDB expressions over a row's number.

A row knows, beside the macros of `MACROS`:

    i     its number: 0 to n-1 inside the window, -20 to -1 before it, n to n+19 after it
    n     rows of its table inside the window
    p     number of its parent row, where the recipe names a parent; in the window if the row is
    made  its CREATED_DATE
    h, g  two numbers below 2**31 that look random and are the same on every machine

Everything follows from these, so that no row has to be looked up to make another: a receipt's net
amount is the sum of its lines', a payment's is its receipt's, a key is known before it is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kpcluigi.rehearsal.sample import names

OUTSIDE = 20
"""Rows of every table on either side of the window."""


@dataclass(frozen=True)
class Recipe:
    """One table's rows.

    share: part of all rows, in thousandths of a percent.
    first_key: where the table's keys start.
    columns: Oracle column -> DuckDB expression; CHAR columns are padded when they are written.
    steps: named expressions that the columns use, each step knowing those before it. (A macro in
        a macro in a macro would be copied until planning takes longer than running.)
    parent: table of the row that `p` numbers.
    created_with_parent: whether CREATED_DATE is the parent's, as of a receipt's lines.
    """

    share: int
    first_key: int
    columns: Mapping[str, str]
    steps: tuple[Mapping[str, str], ...] = ()
    parent: str = ""
    created_with_parent: bool = False


def _texts(values: tuple[str, ...], *, and_null: bool = False) -> str:
    """A DuckDB list of texts, with NULL as its last element where that is asked for."""
    quoted = ["'" + value.replace("'", "''") + "'" for value in values]
    return "[" + ", ".join((*quoted, "NULL") if and_null else quoted) + "]"


MACROS = f"""
-- noise: squares under large primes; no product overflows a BIGINT, and unlike hash() and random()
-- it is the same from one DuckDB release to the next.
CREATE TEMP MACRO square(x, prime) AS x * x % prime;
CREATE TEMP MACRO noise(i, salt) AS
    square(square(((i + {OUTSIDE}) * 1103515245 + (salt + seed()) * 334214459) % 2147483647,
                  1999999973) * 1664525007 % 1610612741, 2147483629);

-- key: ascending with gaps. Rows from before the window have keys in the midst of the others, as
-- rows that were entered late do.
CREATE TEMP MACRO key_of(i, n, first_key) AS first_key + CASE
    WHEN i < 0 THEN -i * greatest(1, n // 25) * 7 + 6
    ELSE i * 7 + noise(i, 1) % 6 END;

-- created: spread evenly over the window, with both edges, the leap day, and neighbours outside.
CREATE TEMP MACRO created(i, n) AS CASE
    WHEN i < 0 THEN TIMESTAMP '2021-12-31 23:59:59' - to_seconds((i + 1) * (i + 1) * 1020)
    WHEN i >= n THEN TIMESTAMP '2025-01-01 00:00:00' + to_seconds((i - n) * (i - n) * 1020)
    WHEN i = 0 THEN TIMESTAMP '2022-01-01 00:00:00'
    WHEN i = n - 1 THEN TIMESTAMP '2024-12-31 23:59:59'
    WHEN i = n * 789 // 1096 + 1 THEN TIMESTAMP '2024-02-29 13:37:00'
    ELSE TIMESTAMP '2022-01-01 00:00:00'
        + to_seconds(i * 94694400 // n + noise(i, 2) % greatest(1, 94694400 // n)) END;
CREATE TEMP MACRO updated(made, h) AS
    CASE WHEN h % 3 > 0 THEN made + to_seconds(h % 2592000) END;

-- parent: children in the order of their parents; those outside the window pair off.
CREATE TEMP MACRO parent_of(i, n, parents) AS CASE
    WHEN i < 0 THEN i WHEN i >= n THEN i - n + parents ELSE i * parents // n END;
CREATE TEMP MACRO first_child(p, n, parents) AS CASE
    WHEN p < 0 THEN p WHEN p >= parents THEN p - parents + n
    ELSE (p * n + parents - 1) // parents END;

CREATE TEMP MACRO money(cents) AS
    CAST(CAST(cents AS DECIMAL(13, 0)) * 0.01 AS DECIMAL(15, 2));
CREATE TEMP MACRO pick(texts, place) AS texts[1 + place % len(texts)];
CREATE TEMP MACRO flag(yes) AS CASE WHEN yes THEN 'Y' ELSE 'N' END;
CREATE TEMP MACRO period(made) AS strftime(made, '%Y%m');

-- The first receipts visit every store once; the rest prefer those with low numbers.
CREATE TEMP MACRO store_of(receipt) AS CASE
    WHEN receipt BETWEEN 0 AND {len(names.stores()) - 1} THEN receipt
    ELSE least(noise(receipt, 3) % {len(names.stores())},
               noise(receipt, 4) % {len(names.stores())}) END;
CREATE TEMP MACRO store_code(store) AS
    concat({_texts(tuple(prefix for prefix, _ in names.LOCATIONS))}[1 + store % 3], '-',
           lpad(CAST(store // 3 + 1 AS VARCHAR), 3, '0'));
CREATE TEMP MACRO tenant_code(tenant) AS
    concat('T', lpad(CAST(tenant + 1 AS VARCHAR), 4, '0'));
CREATE TEMP MACRO any_store(i) AS (i + {OUTSIDE}) % {len(names.stores())};
CREATE TEMP MACRO any_tenant(i) AS (i + {OUTSIDE}) % {len(names.TENANTS)};

-- A sale's line in hundredths of a baht: some are refunds, a few are free, gold is dear.
CREATE TEMP MACRO line_sales(line) AS CASE
    WHEN noise(line, 5) % 211 = 0 THEN 0
    WHEN noise(line, 5) % 40 = 0 THEN -(5900 + noise(line, 6) % 1500000)
    WHEN noise(line, 5) % 997 = 1 THEN (5900 + noise(line, 6) % 1500000) * 100
    ELSE 5900 + noise(line, 6) % 1500000 END;
CREATE TEMP MACRO line_discount(line, sales) AS
    sales * [0, 0, 0, 5, 10, 15, 20][1 + noise(line, 7) % 7] // 100;
CREATE TEMP MACRO line_tax(line, sales, discount) AS
    CASE WHEN noise(line, 8) % 2 = 0 THEN (sales - discount) * 7 // 100 ELSE 0 END;

-- A receipt has one line or two, and one payment or two.
CREATE TEMP MACRO first_line(receipt) AS
    first_child(receipt, count_kps_t_sales_md(), count_kps_t_sales_m());
CREATE TEMP MACRO first_payment(receipt) AS
    first_child(receipt, count_kps_t_salespay_md(), count_kps_t_sales_m());
CREATE TEMP MACRO sold(receipt, made) AS made - to_seconds(60 + noise(receipt, 9) % 7200);

CREATE TEMP MACRO digits_38(i, h, g) AS CASE
    WHEN i = 2 THEN CAST(repeat('9', 38) AS DECIMAL(38, 0))
    ELSE CAST(concat('7', lpad(CAST(h AS VARCHAR), 10, '0'), lpad(CAST(g AS VARCHAR), 10, '0'),
                     lpad(CAST(i + {OUTSIDE} AS VARCHAR), 17, '0')) AS DECIMAL(38, 0)) END;

CREATE TEMP MACRO tenant_name(tenant) AS {_texts(names.TENANTS)}[tenant + 1];
CREATE TEMP MACRO supplier_name(supplier) AS {_texts(names.SUPPLIERS)}[supplier + 1];
CREATE TEMP MACRO person(place) AS pick({_texts(names.PEOPLE)}, place);
CREATE TEMP MACRO slip(place) AS pick({_texts(names.SLIPS)}, place);
CREATE TEMP MACRO product(place) AS pick({_texts(names.PRODUCTS)}, place);
CREATE TEMP MACRO description(place) AS pick({_texts(names.DESCRIPTIONS)}, place);
-- Every remark occurs early; further on most rows have none.
CREATE TEMP MACRO remark(i, h) AS CASE
    WHEN i < 100 OR h % 5 = 0 THEN pick({_texts(names.REMARKS, and_null=True)}, i + {OUTSIDE}) END;
"""

Steps = tuple[dict[str, str], ...]


def _line(line: str, name: str = "line") -> Steps:
    """A line's amounts in hundredths: `line_sales`, `line_off`, `line_tax` and `line_net`."""
    return (
        {f"{name}_sales": f"line_sales({line})"},
        {f"{name}_off": f"line_discount({line}, {name}_sales)"},
        {f"{name}_tax": f"line_tax({line}, {name}_sales, {name}_off)"},
        {f"{name}_net": f"{name}_sales - {name}_off + {name}_tax"},
    )


def _receipt(receipt: str) -> Steps:
    """`item_count` and `net` of a receipt: the sum of its lines."""
    return (
        {"receipt": receipt},
        {"first": "first_line(receipt)"},
        {"item_count": "first_line(receipt + 1) - first"},
        *_line("first", "one"),
        *_line("first + 1", "two"),
        {"net": "one_net + CASE WHEN item_count = 2 THEN two_net ELSE 0 END"},
    )


def _payment(payment: str, receipt: str) -> Steps:
    """`paid` of a payment: its receipt's net amount, or one half of it."""
    return (
        *_receipt(receipt),
        {"first_paid": "first_payment(receipt)"},
        {"payments": "first_payment(receipt + 1) - first_paid"},
        {
            "paid": "CASE WHEN payments = 1 THEN net"
            f" WHEN {payment} = first_paid THEN net // 2 ELSE net - net // 2 END"
        },
    )


SUPPLIER = f"(h % {len(names.SUPPLIERS)})"
PAYMENT_TYPES = "['CASH', 'VISA', 'MASTER', 'ALIPAY', 'WECHAT', 'PROMPTPAY', 'JCB']"


def _email(who: str) -> str:
    return f"concat({who}, CAST(i + {OUTSIDE} AS VARCHAR), '@example.co.th')"


RECIPES: dict[str, Recipe] = {
    "KPS_R_EMAIL_SUPPLIER": Recipe(
        share=50,
        first_key=1_000,
        columns={
            "EMAIL_ID": "key",
            "SUPPLIER_CODE": f"concat('SUP-', CAST(100 + {SUPPLIER} AS VARCHAR))",
            "SUPPLIER_NAME": f"supplier_name({SUPPLIER})",
            "EMAIL_ADDRESS": _email("'orders+'"),
            "CONTACT_NAME": f"CASE WHEN g % 6 > 0 THEN person(i + {OUTSIDE}) END",
            "SEND_TYPE": "['TO', 'CC', 'BCC'][1 + g % 3]",
            "ACTIVE_FLAG": "flag(g % 5 > 0)",
            "REMARK": "remark(i, g)",
        },
    ),
    "KPS_R_EMAIL_TENANT": Recipe(
        share=50,
        first_key=1_000,
        columns={
            "EMAIL_ID": "key",
            "TENANT_CODE": "tenant_code(any_tenant(i))",
            "TENANT_NAME": "tenant_name(any_tenant(i))",
            "EMAIL_ADDRESS": _email("'shop.'"),
            "CONTACT_NAME": f"CASE WHEN g % 6 > 0 THEN person(i + {OUTSIDE}) END",
            "SEND_TYPE": "['TO', 'CC', 'BCC'][1 + g % 3]",
            "ACTIVE_FLAG": "flag(g % 5 > 0)",
        },
    ),
    "KPS_R_POS_SUPPLIER": Recipe(
        share=50,
        first_key=5_000,
        columns={
            "POS_SUPPLIER_ID": "key",
            "SUPPLIER_CODE": f"concat('SUP-', CAST(100 + {SUPPLIER} AS VARCHAR))",
            "POS_NO": f"100 + (i + {OUTSIDE}) * 3",
            "STORE_CODE": "store_code(any_store(i))",
            "SERIAL_NO": "CASE WHEN g % 7 > 0 THEN digits_38(i, h, g) END",
            "POS_MODEL": """['Till 3000 "Pro"', 'Till 3000', 'เครื่องพกพา', NULL][1 + g % 4]""",
            "INSTALLED_ON": "CASE WHEN g % 5 > 0 THEN date_trunc('day', made) END",
            "IS_ONLINE": "h % 2",
        },
    ),
    "KPS_T_PREINV": Recipe(
        share=150,
        first_key=700_000_000,
        columns={
            "PREINV_ID": "key",
            "PREINV_NO": f"concat('PI', period(made), '/', CAST(i + {OUTSIDE} AS VARCHAR))",
            "TENANT_CODE": "tenant_code(any_tenant(i))",
            "PERIOD": "period(made)",
            "PREINV_DATE": "date_trunc('day', made)",
            "DUE_DATE": "CASE WHEN g % 9 > 0 THEN date_trunc('day', made) + INTERVAL 30 DAY END",
            "TOTAL_AMOUNT": "money(h * 3)",
            "VAT_AMOUNT": "money(h * 3 * 7 // 107)",
            "STATUS": "['DRAFT', 'POSTED', 'PAID', 'CANCELLED'][1 + g % 4]",
            "REMARK": "remark(i, g)",
        },
    ),
    "KPS_T_PREINV_MIN": Recipe(
        share=100,
        first_key=710_000_000,
        columns={
            "MIN_ID": "key",
            "TENANT_CODE": "tenant_code(any_store(i) // 3)",
            "STORE_CODE": "store_code(any_store(i))",
            "VALID_FROM": "date_trunc('month', made)",
            "VALID_TO": "CASE WHEN g % 3 > 0 THEN last_day(made) END",
            "MINIMUM_AMOUNT": "money(5000000 + h % 90000000)",
            "CURRENCY_CODE": "['THB', 'THB', 'USD'][1 + g % 3]",
            "VAT_FLAG": "flag(h % 2 = 0)",
        },
    ),
    "KPS_T_PREINV_REVGUA": Recipe(
        share=100,
        first_key=720_000_000,
        columns={
            "REVGUA_ID": "key",
            "TENANT_CODE": "tenant_code(any_tenant(i))",
            "PERIOD": "period(made)",
            "REVENUE_AMOUNT": "money(h)",
            "GUARANTEE_AMOUNT": "money(g)",
            "SHARE_PERCENT": "CAST(h % 1000001 AS DECIMAL(11, 0)) * 0.0001",
            "EXCEEDED_FLAG": "CAST(h > g AS INTEGER)",
            "REMARK": "remark(i, g)",
        },
    ),
    "KPS_T_PREINV_DETAIL": Recipe(
        share=400,
        first_key=730_000_000,
        parent="KPS_T_PREINV",
        columns={
            "DETAIL_ID": "key",
            "PREINV_ID": "key_kps_t_preinv(p)",
            "LINE_NO": "i - first_child(p, n, count_kps_t_preinv()) + 1",
            "CHARGE_CODE": "['RENT', 'SERVICE', 'MARKETING', 'UTILITY', 'CREDIT'][1 + h % 5]",
            "DESCRIPTION": "description(h)",
            "AMOUNT": "money(CASE WHEN h % 5 = 4 THEN -(g // 100) ELSE g // 10 END)",
            "VAT_AMOUNT": "money(CASE WHEN h % 5 = 4 THEN 0 ELSE g // 10 * 7 // 100 END)",
        },
    ),
    "KPS_T_PREINV_REVSALES_D": Recipe(
        share=300,
        first_key=740_000_000,
        parent="KPS_T_PREINV",
        columns={
            "REVSALES_D_ID": "key",
            "PREINV_ID": "key_kps_t_preinv(p)",
            "STORE_CODE": "store_code(any_store(i))",
            "SALES_DAY": "date_trunc('day', made)",
            "RECEIPT_COUNT": "h % 900",
            "SALES_AMOUNT": "money(h // 10)",
            "REFUND_AMOUNT": "money(-(g % 500000))",
            "NET_AMOUNT": "money(h // 10 - g % 500000)",
        },
    ),
    "KPS_T_PREINV_REVSALES_M": Recipe(
        share=100,
        first_key=750_000_000,
        parent="KPS_T_PREINV",
        columns={
            "REVSALES_M_ID": "key",
            "PREINV_ID": "key_kps_t_preinv(p)",
            "PERIOD": "period(made)",
            "RECEIPT_COUNT": "h % 20000",
            "SALES_AMOUNT": "money(h)",
            "NET_AMOUNT": "money(h - h // 30)",
            # The one column with more places than its field: one row in four lies on half a
            # hundredth, above zero or below, or right beside it.
            "AVERAGE_TICKET": "CAST(CASE"
            " WHEN i % 4 = 3 AND i // 4 % 2 = 0 THEN g % 1000000 * 100 + [50, 49][1 + i // 8 % 2]"
            " WHEN i % 4 = 3 THEN -(g % 1000000 * 100 + [50, 51][1 + i // 8 % 2])"
            " ELSE g % 1000000 * 100 END AS DECIMAL(13, 0)) * 0.0001",
            "FINAL_FLAG": "flag(g % 4 > 0)",
        },
    ),
    "KPS_T_SALES_M": Recipe(
        share=26_800,
        first_key=20_220_000_000_000_000,
        steps=_receipt("i"),
        columns={
            "SALES_M_ID": "key",
            "RECEIPT_NO": f"concat('R', store_code(store_of(i)), '-', CAST(i + {OUTSIDE}"
            " AS VARCHAR))",
            "TENANT_CODE": "tenant_code(store_of(i) // 3)",
            "STORE_CODE": "store_code(store_of(i))",
            "SALES_DATE": "sold(i, made)",
            "ITEM_COUNT": "item_count",
            "NET_AMOUNT": "money(net)",
            "CASHIER_NAME": "CASE WHEN g % 6 > 0 THEN person(g) END",
            "FLIGHT_NO": "CASE WHEN h % 3 > 0 THEN"
            " concat(['TG', 'PG', 'WE', 'SQ'][1 + g % 4], CAST(100 + g % 900 AS VARCHAR)) END",
            "VOID_FLAG": "flag(g % 97 = 0)",
        },
    ),
    "KPS_T_SALES_MD": Recipe(
        share=44_000,
        first_key=30_000_000_000_000_000,
        parent="KPS_T_SALES_M",
        created_with_parent=True,
        steps=_line("i"),
        columns={
            "SALES_ID": "key",
            "SALES_M_ID": "key_kps_t_sales_m(p)",
            "TENANT_CODE": "tenant_code(store_of(p) // 3)",
            "STORE_CODE": "store_code(store_of(p))",
            "SALES_DATE": "sold(p, made)",
            "SALES_AMOUNT": "money(line_sales)",
            "TAX_AMOUNT": "money(line_tax)",
            "DISCOUNT_AMOUNT": "money(line_off)",
            "NET_AMOUNT": "money(line_net)",
            "PAYMENT_TYPE": f"CASE WHEN h % 50 > 0 THEN pick({PAYMENT_TYPES}, noise(p, 10)) END",
            "PRODUCT_NAME": "product(h)",
        },
    ),
    "KPS_T_SALESPAY_MD": Recipe(
        share=26_900,
        first_key=40_000_000_000_000_000,
        parent="KPS_T_SALES_M",
        created_with_parent=True,
        steps=_payment("i", "p"),
        columns={
            "SALESPAY_ID": "key",
            "SALES_M_ID": "key_kps_t_sales_m(p)",
            "TENANT_CODE": "tenant_code(store_of(p) // 3)",
            "PAYMENT_TYPE": f"pick({PAYMENT_TYPES}, noise(p, 10))",
            "PAYMENT_DATE": "sold(p, made)",
            "PAID_AMOUNT": "money(paid)",
            "CURRENCY_CODE": "['THB', 'THB', 'THB', 'USD', 'CNY'][1 + h % 5]",
            "EXCHANGE_RATE": "CASE h % 5 WHEN 3 THEN 35.125 + (g % 1000) * 0.000001"
            " WHEN 4 THEN 4.8755 + (g % 1000) * 0.000001 END",
            "CARD_NO": f"CASE WHEN pick({PAYMENT_TYPES}, noise(p, 10)) IN ('VISA', 'MASTER', 'JCB')"
            " THEN concat('XXXX-XXXX-XXXX-', lpad(CAST(h % 10000 AS VARCHAR), 4, '0')) END",
            "GATEWAY_REF": f"CASE WHEN pick({PAYMENT_TYPES}, noise(p, 10)) <> 'CASH'"
            " THEN digits_38(i, h, g) END",
        },
    ),
    "KPS_T_SALES_APPRV": Recipe(
        share=150,
        first_key=810_000_000,
        columns={
            "APPRV_ID": "key",
            "STORE_CODE": "store_code(any_store(i))",
            "SALES_DAY": "date_trunc('day', made)",
            "STATUS": "['OPEN', 'APPROVED', 'REJECTED'][1 + h % 3]",
            "TOTAL_AMOUNT": "money(h - g)",
            "APPROVED_BY": "CASE WHEN h % 3 > 0 THEN person(g) END",
            "APPROVED_DATE": "CASE WHEN h % 3 > 0 THEN made + to_seconds(g % 86400) END",
            "AUTO_FLAG": "g % 2",
            # '' is EMPTY_CLOB(), the one empty text that Oracle could tell from NULL.
            "REMARK": "CASE WHEN i % 40 = 3 THEN"
            f" repeat({_texts((names.LONG_REMARK,))}[1], 20000 // {len(names.LONG_REMARK)})"
            " WHEN i % 40 = 5 THEN '' ELSE remark(i, g) END",
        },
    ),
    "KPS_T_SALES_APPRV_DETAIL": Recipe(
        share=300,
        first_key=820_000_000,
        parent="KPS_T_SALES_APPRV",
        steps=_receipt("parent_of(i, n, count_kps_t_sales_m())"),
        columns={
            "APPRV_DETAIL_ID": "key",
            "APPRV_ID": "key_kps_t_sales_apprv(p)",
            "LINE_NO": "i - first_child(p, n, count_kps_t_sales_apprv()) + 1",
            "SALES_M_ID": "key_kps_t_sales_m(receipt)",
            "SALES_AMOUNT": "money(net)",
            "ADJUSTED_AMOUNT": "CASE WHEN h % 4 > 0 THEN money(g % 200001 - 100000) END",
            # Every 50th text fills its column and its field to the last character.
            "REASON": "CASE WHEN i % 50 = 7 THEN repeat('ก', 255)"
            f" WHEN h % 3 > 0 THEN pick({_texts(names.REASONS)}, g) END",
        },
    ),
    "KPS_T_SALESBANK_MD": Recipe(
        share=300,
        first_key=830_000_000,
        parent="KPS_T_SALESPAY_MD",
        steps=_payment("p", "parent_of(p, count_kps_t_salespay_md(), count_kps_t_sales_m())"),
        columns={
            "SALESBANK_ID": "key",
            "SALESPAY_ID": "key_kps_t_salespay_md(p)",
            "BANK_CODE": "['002', '004', '014', '025'][1 + h % 4]",
            "ACCOUNT_NO": "lpad(CAST(g // 10 AS VARCHAR), 10, '0')",
            "SLIP_NO": f"CASE WHEN i < 100 OR h % 2 = 0 THEN slip(i + {OUTSIDE}) END",
            "DEPOSIT_DATE": "date_trunc('day', made)",
            "DEPOSIT_AMOUNT": "money(paid)",
            "RECONCILED_FLAG": "CAST(h % 10 > 0 AS INTEGER)",
            "REMARK": "remark(i, g)",
        },
    ),
    "KPS_WEB_SALES": Recipe(
        share=250,
        first_key=90_000_000,
        parent="KPS_T_SALES_MD",
        steps=_line("p"),
        columns={
            "WEB_ORDER_NO": "concat('WEB-', lpad(CAST(key AS VARCHAR), 12, '0'))",
            "SALES_ID": "CASE WHEN h % 10 > 0 THEN key_kps_t_sales_md(p) END",
            "CUSTOMER_NAME": f"person(i + {OUTSIDE})",
            "CUSTOMER_EMAIL": f"CASE WHEN g % 8 > 0 THEN {_email(repr('guest'))} END",
            "ORDER_DATE": "made - to_seconds(7 * 3600 + h % 604800)",
            "PICKUP_DATE": "CASE WHEN g % 3 > 0 THEN date_trunc('day', made) + INTERVAL 2 DAY END",
            "TOTAL_AMOUNT": "money(line_net)",
            "CHANNEL": "['WEB', 'APP', 'LINE'][1 + h % 3]",
            "GIFT_FLAG": "flag(h % 7 = 0)",
            "DELIVERY_NOTE": "CASE WHEN i % 40 = 5 THEN '' ELSE remark(i, g) END",
            # The last moment that a TIMESTAMP(6) can hold inside the window.
            "CREATED_DATE": "CASE WHEN i = n - 1 THEN TIMESTAMP '2024-12-31 23:59:59.999999'"
            " ELSE made END",
        },
    ),
}
"""How every table of `schema.TABLES` is filled."""
