"""The 16 tables of the tenant-sales system as Oracle describes them, in the order of their phases.

KPS_T_SALES_MD has the columns that are known, and two that are not mapped (a receipt key and a
product name); the other tables' columns are the guesses of tables.toml.
"""

from __future__ import annotations

from kpcluigi.rehearsal.oracle.catalog import Column, Table

OWNER = "TMS"


def _table(name: str, primary_key: str, definition: str) -> Table:
    """A table from a CREATE TABLE's body, one column per line; `!` marks NOT NULL."""
    columns = []
    for line in definition.strip().splitlines():
        column, kind = line.strip().split(" ", 1)
        columns.append(Column(column, kind.removesuffix(" !"), nullable=not kind.endswith(" !")))
    return Table(OWNER, name, tuple(columns), tuple(primary_key.split()))


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        _table(
            "KPS_R_EMAIL_SUPPLIER",
            "EMAIL_ID",
            """
            EMAIL_ID NUMBER(10) !
            SUPPLIER_CODE VARCHAR2(20 CHAR) !
            SUPPLIER_NAME VARCHAR2(120 CHAR)
            EMAIL_ADDRESS VARCHAR2(80 CHAR)
            CONTACT_NAME VARCHAR2(80 CHAR)
            SEND_TYPE CHAR(4) !
            ACTIVE_FLAG CHAR(1) !
            REMARK VARCHAR2(1000 CHAR)
            CREATED_DATE DATE !
            UPDATED_DATE DATE
            """,
        ),
        _table(
            "KPS_R_EMAIL_TENANT",
            "EMAIL_ID",
            """
            EMAIL_ID NUMBER(10) !
            TENANT_CODE VARCHAR2(10 CHAR) !
            TENANT_NAME VARCHAR2(120 CHAR)
            EMAIL_ADDRESS VARCHAR2(80 CHAR)
            CONTACT_NAME VARCHAR2(80 CHAR)
            SEND_TYPE CHAR(4) !
            ACTIVE_FLAG CHAR(1) !
            CREATED_DATE DATE !
            UPDATED_DATE DATE
            """,
        ),
        _table(
            "KPS_R_POS_SUPPLIER",
            "SUPPLIER_CODE POS_NO",
            """
            POS_SUPPLIER_ID NUMBER(10) !
            SUPPLIER_CODE VARCHAR2(20 CHAR) !
            POS_NO NUMBER(8) !
            STORE_CODE VARCHAR2(10 CHAR) !
            SERIAL_NO NUMBER(38)
            POS_MODEL VARCHAR2(60 CHAR)
            INSTALLED_ON DATE
            IS_ONLINE NUMBER(1) !
            CREATED_DATE DATE !
            UPDATED_DATE DATE
            """,
        ),
        _table(
            "KPS_T_PREINV",
            "PREINV_ID",
            """
            PREINV_ID NUMBER(18) !
            PREINV_NO VARCHAR2(30 CHAR) !
            TENANT_CODE VARCHAR2(10 CHAR) !
            PERIOD CHAR(8) !
            PREINV_DATE DATE !
            DUE_DATE DATE
            TOTAL_AMOUNT NUMBER(15,2) !
            VAT_AMOUNT NUMBER(15,2) !
            STATUS CHAR(10) !
            REMARK VARCHAR2(1000 CHAR)
            CREATED_DATE DATE !
            UPDATED_DATE DATE
            """,
        ),
        _table(
            "KPS_T_PREINV_MIN",
            "MIN_ID",
            """
            MIN_ID NUMBER(18) !
            TENANT_CODE VARCHAR2(10 CHAR) !
            STORE_CODE VARCHAR2(10 CHAR) !
            VALID_FROM DATE !
            VALID_TO DATE
            MINIMUM_AMOUNT NUMBER(15,2) !
            CURRENCY_CODE CHAR(3) !
            VAT_FLAG CHAR(1) !
            CREATED_DATE DATE !
            UPDATED_DATE DATE
            """,
        ),
        _table(
            "KPS_T_PREINV_REVGUA",
            "REVGUA_ID",
            """
            REVGUA_ID NUMBER(18) !
            TENANT_CODE VARCHAR2(10 CHAR) !
            PERIOD CHAR(8) !
            REVENUE_AMOUNT NUMBER(15,2) !
            GUARANTEE_AMOUNT NUMBER(15,2) !
            SHARE_PERCENT NUMBER(7,4)
            EXCEEDED_FLAG NUMBER(1) !
            REMARK VARCHAR2(1000 CHAR)
            CREATED_DATE DATE !
            UPDATED_DATE DATE
            """,
        ),
        _table(
            "KPS_T_PREINV_DETAIL",
            "PREINV_ID LINE_NO",
            """
            DETAIL_ID NUMBER(18) !
            PREINV_ID NUMBER(18) !
            LINE_NO NUMBER(5) !
            CHARGE_CODE CHAR(10) !
            DESCRIPTION VARCHAR2(255 CHAR)
            AMOUNT NUMBER(15,2) !
            VAT_AMOUNT NUMBER(15,2) !
            CREATED_DATE DATE !
            UPDATED_DATE DATE
            """,
        ),
        _table(
            "KPS_T_PREINV_REVSALES_D",
            "REVSALES_D_ID",
            """
            REVSALES_D_ID NUMBER(18) !
            PREINV_ID NUMBER(18) !
            STORE_CODE VARCHAR2(10 CHAR) !
            SALES_DAY DATE !
            RECEIPT_COUNT NUMBER(8) !
            SALES_AMOUNT NUMBER(15,2) !
            REFUND_AMOUNT NUMBER(15,2) !
            NET_AMOUNT NUMBER(15,2) !
            CREATED_DATE DATE !
            UPDATED_DATE DATE
            """,
        ),
        _table(
            "KPS_T_PREINV_REVSALES_M",
            "REVSALES_M_ID",
            """
            REVSALES_M_ID NUMBER(18) !
            PREINV_ID NUMBER(18) !
            PERIOD CHAR(8) !
            RECEIPT_COUNT NUMBER(8) !
            SALES_AMOUNT NUMBER(15,2) !
            NET_AMOUNT NUMBER(15,2) !
            AVERAGE_TICKET NUMBER(18,4)
            FINAL_FLAG CHAR(1) !
            CREATED_DATE DATE !
            UPDATED_DATE DATE
            """,
        ),
        _table(
            "KPS_T_SALES_M",
            "SALES_M_ID",
            """
            SALES_M_ID NUMBER(38) !
            RECEIPT_NO VARCHAR2(30 CHAR) !
            TENANT_CODE VARCHAR2(10 CHAR) !
            STORE_CODE VARCHAR2(10 CHAR) !
            SALES_DATE DATE !
            ITEM_COUNT NUMBER(5) !
            NET_AMOUNT NUMBER(15,2) !
            CASHIER_NAME VARCHAR2(80 CHAR)
            FLIGHT_NO CHAR(8)
            VOID_FLAG CHAR(1) !
            CREATED_DATE DATE !
            UPDATED_DATE DATE
            """,
        ),
        _table(
            "KPS_T_SALES_MD",
            "SALES_ID",
            """
            SALES_ID NUMBER(38) !
            SALES_M_ID NUMBER(38) !
            TENANT_CODE VARCHAR2(10 CHAR) !
            STORE_CODE VARCHAR2(10 CHAR) !
            SALES_DATE DATE !
            SALES_AMOUNT NUMBER(15,2) !
            TAX_AMOUNT NUMBER(15,2) !
            DISCOUNT_AMOUNT NUMBER(15,2) !
            NET_AMOUNT NUMBER(15,2) !
            PAYMENT_TYPE CHAR(10)
            PRODUCT_NAME VARCHAR2(200 CHAR)
            CREATED_DATE DATE !
            UPDATED_DATE TIMESTAMP(6)
            """,
        ),
        _table(
            "KPS_T_SALESPAY_MD",
            "SALESPAY_ID",
            """
            SALESPAY_ID NUMBER(38) !
            SALES_M_ID NUMBER(38) !
            TENANT_CODE VARCHAR2(10 CHAR) !
            PAYMENT_TYPE CHAR(10) !
            PAYMENT_DATE DATE !
            PAID_AMOUNT NUMBER(15,2) !
            CURRENCY_CODE CHAR(3) !
            EXCHANGE_RATE NUMBER(15,6)
            CARD_NO VARCHAR2(19 CHAR)
            GATEWAY_REF NUMBER(38)
            CREATED_DATE DATE !
            UPDATED_DATE DATE
            """,
        ),
        _table(
            "KPS_T_SALES_APPRV",
            "APPRV_ID",
            """
            APPRV_ID NUMBER(18) !
            STORE_CODE VARCHAR2(10 CHAR) !
            SALES_DAY DATE !
            STATUS CHAR(10) !
            TOTAL_AMOUNT NUMBER(15,2) !
            APPROVED_BY VARCHAR2(80 CHAR)
            APPROVED_DATE DATE
            AUTO_FLAG NUMBER(1) !
            REMARK CLOB
            CREATED_DATE DATE !
            UPDATED_DATE DATE
            """,
        ),
        _table(
            "KPS_T_SALES_APPRV_DETAIL",
            "APPRV_ID LINE_NO",
            """
            APPRV_DETAIL_ID NUMBER(18) !
            APPRV_ID NUMBER(18) !
            LINE_NO NUMBER(5) !
            SALES_M_ID NUMBER(38) !
            SALES_AMOUNT NUMBER(15,2) !
            ADJUSTED_AMOUNT NUMBER(15,2)
            REASON VARCHAR2(255 CHAR)
            CREATED_DATE DATE !
            UPDATED_DATE DATE
            """,
        ),
        _table(
            "KPS_T_SALESBANK_MD",
            "SALESBANK_ID",
            """
            SALESBANK_ID NUMBER(18) !
            SALESPAY_ID NUMBER(38) !
            BANK_CODE CHAR(6) !
            ACCOUNT_NO VARCHAR2(20 CHAR) !
            SLIP_NO VARCHAR2(30 CHAR)
            DEPOSIT_DATE DATE !
            DEPOSIT_AMOUNT NUMBER(15,2) !
            RECONCILED_FLAG NUMBER(1) !
            REMARK VARCHAR2(1000 CHAR)
            CREATED_DATE DATE !
            UPDATED_DATE DATE
            """,
        ),
        _table(
            "KPS_WEB_SALES",
            "WEB_ORDER_NO",
            """
            WEB_ORDER_NO VARCHAR2(20 CHAR) !
            SALES_ID NUMBER(38)
            CUSTOMER_NAME VARCHAR2(120 CHAR)
            CUSTOMER_EMAIL VARCHAR2(80 CHAR)
            ORDER_DATE DATE !
            PICKUP_DATE DATE
            TOTAL_AMOUNT NUMBER(15,2) !
            CHANNEL CHAR(6) !
            GIFT_FLAG CHAR(1) !
            DELIVERY_NOTE CLOB
            CREATED_DATE TIMESTAMP(6) !
            UPDATED_DATE TIMESTAMP(6)
            """,
        ),
    )
}
"""Every table by name."""
