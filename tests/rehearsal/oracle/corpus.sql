-- What Oracle 19c answers. A statement ends where its answer begins: "=> value | value" is a row,
-- NULL is NULL, moments are ISO, "=> no rows" is none, and "=> ORA-nnnnn" is a refusal. Numbers are
-- exact. "#" after the ORA- number starts a part of the message that must be there, too.

-- literals, NULL and ''
SELECT 1, 'a', NULL, '' FROM dual
=> 1 | a | NULL | NULL
SELECT dummy FROM dual
=> X
SELECT q'[it's]', 'it''s', n'x' FROM dual
=> it's | it's | x
SELECT 'a' || NULL || 'b' || '' FROM dual
=> ab
SELECT NULL || NULL FROM dual
=> NULL
SELECT COUNT(*) FROM sale WHERE note IS NULL
=> 2
SELECT COUNT(*) FROM sale WHERE note = ''
=> 0
SELECT DATE '2024-02-29', TIMESTAMP '2024-02-29 01:02:03.5' FROM dual
=> 2024-02-29 00:00:00 | 2024-02-29 01:02:03.500000
SELECT DATE '2024-02-30' FROM dual
=> ORA-01839

-- numbers
SELECT 1/3, 2/4, -7/2 FROM dual
=> 0.3333333333333333333333333333333333333333 | 0.5 | -3.5
SELECT 0.1 + 0.2, 1.10 * 3, 10 - 0.5 FROM dual
=> 0.3 | 3.3 | 9.5
SELECT 99999999999999999999999999999999999999 + 0, 1e-10, .5 FROM dual
=> 99999999999999999999999999999999999999 | 0.0000000001 | 0.5
SELECT free FROM sale ORDER BY free
=> -12345678901234567890.123456789
=> 0.0000000001
=> 9
=> 10
=> NULL
SELECT id FROM sale WHERE free > 9
=> 3
SELECT wide FROM sale WHERE id IN (1, 2) ORDER BY wide
=> -99999999999999999999999999999999999999
=> 99999999999999999999999999999999999999
SELECT SUM(amount), AVG(amount), MIN(amount), MAX(amount) FROM sale
=> 600.05 | 150.0125 | -0.05 | 250
SELECT SUM(free), AVG(qty), COUNT(qty), COUNT(*) FROM sale WHERE id > 2
=> 19 | 7 | 1 | 3
SELECT MIN(free), MAX(free) FROM sale
=> -12345678901234567890.123456789 | 10
SELECT MOD(11, 4), MOD(-11, 4), MOD(5, 0), MOD(5.5, 2) FROM dual
=> 3 | -3 | 5 | 1.5
SELECT CEIL(1.2), FLOOR(-1.2), CEIL(7/2), FLOOR(-7/2), ROUND(2.5), TRUNC(2.99, 1) FROM dual
=> 2 | -2 | 4 | -4 | 3 | 2.9
SELECT ABS(-3.5), SIGN(-2), POWER(2, 10) FROM dual
=> 3.5 | -1 | 1024
SELECT 1/0 FROM dual
=> ORA-01476
SELECT id/0 FROM sale WHERE id = 1
=> ORA-01476
SELECT CEIL(id/0) FROM sale WHERE id = 1
=> ORA-01476
SELECT TO_NUMBER('12x') FROM dual
=> ORA-01722
SELECT TO_NUMBER(' 12.50 ') + '1' FROM dual
=> 13.5
SELECT id FROM sale WHERE note = 5
=> ORA-01722

-- text
SELECT SUBSTR('abcdef', 2, 3), SUBSTR('abcdef', -2), SUBSTR('abc', 0, 2), SUBSTR('abc', 9) FROM dual
=> bcd | ef | ab | NULL
SELECT LENGTH('สวัสดี'), LENGTHB('สวัสดี'), LENGTH('') FROM dual
=> 6 | 18 | NULL
SELECT UPPER('abc'), LOWER('ABC'), INITCAP('one two') FROM dual
=> ABC | abc | One Two
SELECT TRIM('  x '), LTRIM('xxab', 'x'), RTRIM('abyy', 'y'), TRIM(BOTH '-' FROM '-a-'), TRIM(' ') FROM dual
=> x | ab | ab | a | NULL
SELECT INSTR('banana', 'an'), INSTR('banana', 'an', 3), INSTR('banana', 'a', -1), INSTR('banana', 'z') FROM dual
=> 2 | 4 | 6 | 0
SELECT REPLACE('a-b-c', '-', '+'), REPLACE('a-b', '-'), LPAD('7', 3, '0'), RPAD('7', 3, '.') FROM dual
=> a+b+c | ab | 007 | 7..
SELECT NVL(NULL, 'x'), NVL2('', 1, 2), COALESCE(NULL, NULL, 3), NULLIF(1, 1) FROM dual
=> x | 2 | 3 | NULL
SELECT DECODE(NULL, NULL, 'same', 'other'), DECODE(2, 1, 'a', 2, 'b'), DECODE(9, 1, 'a') FROM dual
=> same | b | NULL
SELECT CASE WHEN 1 = 2 THEN 'a' ELSE 'b' END, CASE 3 WHEN 3 THEN 'c' END FROM dual
=> b | c
SELECT CASE WHEN 1 = 1 THEN 1 ELSE 'b' END FROM dual
=> ORA-00932
SELECT STANDARD_HASH('a', 'MD5') FROM dual
=> 0cc175b9c0f1b6a831c399e269772661
SELECT RAWTOHEX(key16) FROM sale WHERE id = 1
=> 00FF10
SELECT LISTAGG(TRIM(code), ',') WITHIN GROUP (ORDER BY code) FROM branch
=> BKK,CNX,HKT

-- CHAR is padded; it compares padded with a literal, not with a VARCHAR2
SELECT code || '|', LENGTH(code) FROM branch WHERE code = 'BKK'
=> BKK   | | 6
SELECT COUNT(*) FROM branch WHERE code = CAST('BKK' AS VARCHAR2(3))
=> 0
SELECT COUNT(*) FROM branch b JOIN sale s ON s.branch = b.code
=> 4

-- dates
SELECT DATE '2024-01-31' + 1, DATE '2024-01-31' - 0.5, DATE '2024-03-01' - DATE '2024-02-01' FROM dual
=> 2024-02-01 00:00:00 | 2024-01-30 12:00:00 | 29
SELECT TRUNC(sold), TRUNC(sold, 'MM'), TRUNC(sold, 'YYYY') FROM sale WHERE id = 3
=> 2023-12-31 00:00:00 | 2023-12-01 00:00:00 | 2023-01-01 00:00:00
SELECT ADD_MONTHS(DATE '2024-01-31', 1), LAST_DAY(DATE '2024-02-01') FROM dual
=> 2024-02-29 00:00:00 | 2024-02-29 00:00:00
SELECT DATE '2024-01-31' + INTERVAL '1' MONTH FROM dual
=> ORA-01839
SELECT DATE '2024-01-31' + INTERVAL '2' HOUR FROM dual
=> 2024-01-31 02:00:00
SELECT EXTRACT(YEAR FROM sold), EXTRACT(MONTH FROM sold) FROM sale WHERE id = 1
=> 2024 | 1
SELECT TO_DATE('2024-02-29 13:14:15', 'YYYY-MM-DD HH24:MI:SS') FROM dual
=> 2024-02-29 13:14:15
SELECT TO_DATE('31-JAN-24'), TO_TIMESTAMP('2024-01-01 00:00:00.000001', 'YYYY-MM-DD HH24:MI:SS.FF6') FROM dual
=> 2024-01-31 00:00:00 | 2024-01-01 00:00:00.000001
SELECT TO_DATE('2024-13-01', 'YYYY-MM-DD') FROM dual
=> ORA-01843
SELECT TO_DATE('2024-01-32', 'YYYY-MM-DD') FROM dual
=> ORA-01847
SELECT TO_DATE('abcd-01-01', 'YYYY-MM-DD') FROM dual
=> ORA-01858
SELECT TO_DATE('2024x01', 'YYYY-MM') FROM dual
=> ORA-01861
SELECT TO_DATE('2024-01-01 10', 'YYYY-MM-DD') FROM dual
=> ORA-01830
SELECT TO_DATE('2024-01-01', 'YYYY-NN-DD') FROM dual
=> ORA-01821
SELECT COUNT(*) FROM sale WHERE sold = '2024-01-31'
=> ORA-01861
SELECT TO_CHAR(sold, 'YYYY-MM-DD"T"HH24:MI:SS'), TO_CHAR(sold, 'DD Mon YY Q DDD') FROM sale WHERE id = 1
=> 2024-01-31T08:00:00 | 31 Jan 24 1 031
SELECT TO_CHAR(stamp, 'HH24:MI:SS.FF3'), TO_CHAR(zoned, 'HH24:MI TZH:TZM') FROM sale WHERE id = 1
=> 08:00:00.123 | 08:00 +07:00
SELECT zoned, SYS_EXTRACT_UTC(zoned) FROM sale WHERE id = 2
=> 2024-02-29 06:30:00 | 2024-02-29 12:00:00
SELECT TO_CHAR(sold, 'FF') FROM sale
=> ORA-01821
SELECT sold + sold FROM sale
=> ORA-00975
SELECT COUNT(*) FROM sale WHERE sold < 5
=> ORA-00932
SELECT COUNT(*) FROM dual WHERE SYSDATE > DATE '2020-01-01' AND SYSTIMESTAMP > DATE '2020-01-01'
=> 1

-- numbers as text
SELECT TO_CHAR(0.5), TO_CHAR(-0.25), TO_CHAR(100), TO_CHAR(amount, 'TM9') FROM sale WHERE id = 2
=> .5 | -.25 | 100 | -.05
SELECT TO_CHAR(1234567.891, 'FM9,999,990.00'), TO_CHAR(5, '0000'), TO_CHAR(12345, '999') FROM dual
=> 1,234,567.89 |  0005 | ####
SELECT TO_CHAR(1234.5, 'TM9', 'NLS_NUMERIC_CHARACTERS='',.''') FROM dual
=> 1234,5
SELECT TO_CHAR(1, 'bogus') FROM dual
=> ORA-01481

-- sorting: NULLs are the largest
SELECT id FROM sale ORDER BY qty, id
=> 2
=> 1
=> 4
=> 3
=> 5
SELECT id FROM sale ORDER BY qty DESC, id
=> 3
=> 5
=> 4
=> 1
=> 2
SELECT id AS n FROM sale ORDER BY qty NULLS FIRST, n FETCH FIRST 2 ROWS ONLY
=> 3
=> 5
SELECT id FROM sale ORDER BY 1 DESC OFFSET 1 ROWS FETCH NEXT 2 ROWS ONLY
=> 4
=> 3
SELECT id FROM sale ORDER BY 2
=> ORA-01785
SELECT DISTINCT branch FROM sale ORDER BY id
=> ORA-01791
SELECT body FROM doc ORDER BY body
=> ORA-00932

-- rowids: object, file, block and row, in the order of these numbers, not of their text
SELECT LENGTH(ROWID), COUNT(DISTINCT ROWID), COUNT(DISTINCT SUBSTR(s.ROWID, 1, 9)) FROM sale s GROUP BY LENGTH(ROWID)
=> 18 | 5 | 1
SELECT id FROM sale WHERE ROWID = CHARTOROWID((SELECT ROWIDTOCHAR(MAX(ROWID)) FROM sale))
=> 5
SELECT id FROM sale WHERE ROWIDTOCHAR(ROWID) IN (SELECT ROWIDTOCHAR(s.ROWID) FROM sale s WHERE s.id = 4)
=> 4
SELECT a.id FROM big a, (SELECT MIN(ROWID) first, MAX(ROWID) last FROM big) e WHERE a.ROWID = e.last
=> 60000
SELECT COUNT(*) FROM (SELECT id, ROWID rid, LAG(ROWID) OVER (ORDER BY id) before FROM big) WHERE before > rid
=> 0
SELECT COUNT(*) FROM (SELECT id, ROWIDTOCHAR(ROWID) rid, LAG(ROWIDTOCHAR(ROWID)) OVER (ORDER BY id) before FROM big) WHERE before > rid
=> 1218
SELECT ROWIDTOCHAR(DBMS_ROWID.ROWID_CREATE(1, 70000, 5, 128, 0)), DBMS_ROWID.ROWID_CREATE(1, 4294967295, 1023, 4194303, 65535) FROM dual
=> AAARFwAAFAAAACAAAA | D/////AP/AAP///P//
SELECT DBMS_ROWID.ROWID_OBJECT(r), DBMS_ROWID.ROWID_RELATIVE_FNO(r), SYS.DBMS_ROWID.ROWID_BLOCK_NUMBER(r), DBMS_ROWID.ROWID_ROW_NUMBER(r) FROM (SELECT CHARTOROWID('AAARFwAAFAAAACAAAB') r FROM dual)
=> 70000 | 5 | 128 | 1
SELECT COUNT(*) FROM big WHERE ROWID >= (SELECT DBMS_ROWID.ROWID_CREATE(1, DBMS_ROWID.ROWID_OBJECT(MIN(ROWID)), DBMS_ROWID.ROWID_RELATIVE_FNO(MIN(ROWID)), 130, 0) FROM big) AND ROWID <= (SELECT DBMS_ROWID.ROWID_CREATE(1, DBMS_ROWID.ROWID_OBJECT(MIN(ROWID)), DBMS_ROWID.ROWID_RELATIVE_FNO(MIN(ROWID)), 131, 32767) FROM big)
=> 200
SELECT COUNT(*) FROM sale a JOIN sale b ON a.ROWID = b.ROWID WHERE a.ROWID BETWEEN 'AAAAAAAAAAAAAAAAAA' AND 'D/////AP/AAP///P//'
=> 5
SELECT COUNT(*) FROM sale WHERE ROWID < 'AAAAAAAAAAAAAAAAAA' OR ROWID IS NULL
=> 0
SELECT CHARTOROWID('not a rowid') FROM dual
=> ORA-01410
SELECT id FROM sale WHERE ROWID > 'AAARFwAAFAAAACAAA='
=> ORA-01410
SELECT id FROM sale WHERE ROWID > 5
=> ORA-00932 # expected ROWID got NUMBER
SELECT DBMS_ROWID.ROWID_CREATE(1, 2) FROM dual
=> ORA-06553
SELECT DBMS_ROWID.ROWID_CREATE(0, 1, 1, 1, 1) FROM dual
=> ORA-03001
SELECT ROWID FROM sale, branch
=> ORA-00918
SELECT ROWID FROM all_tables
=> ORA-01445
SELECT v.ROWID FROM (SELECT s.id FROM sale s, branch b) v
=> ORA-01445
SELECT ROWID FROM (SELECT DISTINCT id FROM sale)
=> ORA-01446
SELECT ROWID FROM (SELECT id FROM sale)
=> ORA-03001
SELECT nowhere.ROWID FROM sale
=> ORA-00904 # "NOWHERE"."ROWID": invalid identifier
SELECT id, COUNT(*) FROM sale GROUP BY ROWID
=> ORA-00979

-- analytic functions and inline views
SELECT id, rn FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY id DESC) rn FROM sale) WHERE MOD(rn, 2) = 1 ORDER BY id
=> 1 | 5
=> 3 | 3
=> 5 | 1
SELECT id, RANK() OVER (ORDER BY amount DESC), LAG(id) OVER (ORDER BY id), LEAD(id, 1, 0) OVER (ORDER BY id), COUNT(*) OVER () FROM sale WHERE id < 4 ORDER BY id
=> 1 | 2 | NULL | 2 | 3
=> 2 | 3 | 1 | 3 | 3
=> 3 | 1 | 2 | 0 | 3
SELECT NTILE(2) OVER (ORDER BY id), SUM(amount) OVER (PARTITION BY branch ORDER BY id) FROM sale WHERE id < 4 ORDER BY id
=> 1 | 100.1
=> 1 | 100.05
=> 2 | 250
SELECT COUNT(*) FROM sale WHERE ROW_NUMBER() OVER (ORDER BY id) = 1
=> ORA-30483
SELECT ROW_NUMBER() OVER () FROM sale
=> ORA-30485

-- ROWNUM
SELECT COUNT(*) FROM sale WHERE ROWNUM <= 2
=> 2
SELECT * FROM (SELECT id FROM sale ORDER BY id DESC) WHERE ROWNUM < 3
=> 5
=> 4
SELECT ROWNUM, id FROM (SELECT id FROM sale ORDER BY id) WHERE ROWNUM = 1
=> 1 | 1
SELECT id FROM sale WHERE ROWNUM > 1
=> no rows

-- grouping
SELECT branch, COUNT(*), SUM(qty) FROM sale GROUP BY branch HAVING COUNT(*) > 1 ORDER BY branch
=> BKK    | 2 | 4
=> CNX    | 2 | 7
SELECT branch, amount, COUNT(*) FROM sale GROUP BY branch
=> ORA-00979
SELECT branch, COUNT(*) FROM sale
=> ORA-00937
SELECT id FROM sale WHERE COUNT(*) > 1
=> ORA-00934
SELECT branch AS b, COUNT(*) FROM sale GROUP BY b
=> ORA-00904
SELECT COUNT(*) FROM sale GROUP BY branch ORDER BY id
=> ORA-00979

-- joins, subqueries and sets
SELECT s.id, b.rent FROM sale s LEFT JOIN branch b ON b.code = s.branch WHERE s.id IN (1, 5) ORDER BY s.id
=> 1 | 1500.5
=> 5 | NULL
SELECT COUNT(*) FROM branch b WHERE NOT EXISTS (SELECT 1 FROM sale s WHERE s.branch = b.code)
=> 1
SELECT id FROM sale WHERE (id, qty) IN ((1, 3), (2, 9))
=> 1
SELECT id FROM sale WHERE id IN (SELECT MAX(id) FROM sale)
=> 5
SELECT (SELECT MAX(id) FROM sale) FROM dual
=> 5
SELECT (SELECT id FROM sale) FROM dual
=> ORA-01427
WITH w AS (SELECT id FROM sale WHERE id < 3) SELECT COUNT(*) FROM w a, w b
=> 4
SELECT 1 FROM dual UNION ALL SELECT 1 FROM dual
=> 1
=> 1
SELECT id FROM sale MINUS SELECT id FROM sale WHERE id > 1
=> 1
SELECT id FROM sale INTERSECT SELECT 3 FROM dual
=> 3
SELECT 1 FROM dual UNION ALL SELECT 'a' FROM dual
=> ORA-01790
SELECT 1, 2 FROM dual UNION ALL SELECT 1 FROM dual
=> ORA-01789
SELECT name FROM hr.place
=> Head office
SELECT id FROM sale s, branch b WHERE s.branch = b.code AND b.name LIKE 'กรุง%' AND s.note LIKE 'fir%'
=> 1
SELECT code FROM branch, sale WHERE branch = code AND opened IS NULL
=> no rows

-- the session
SELECT USER, SYS_CONTEXT('USERENV', 'CURRENT_SCHEMA') FROM dual
=> KPC | KPC
SELECT SYS_CONTEXT('USERENV', 'NONSENSE') FROM dual
=> ORA-02003
SELECT COUNT(*) FROM v$database WHERE current_scn > 1000000 AND name = 'KPC'
=> 1
SELECT COUNT(*) FROM dual WHERE dbms_flashback.get_system_change_number > 1000000
=> 1
SELECT COUNT(*) FROM all_tables WHERE owner = 'KPC'
=> 5
SELECT COUNT(*) FROM user_tab_columns WHERE table_name = 'BRANCH'
=> 4

-- refused by the grammar
SELECT id FROM sale LIMIT 5
=> ORA-00933
SELECT id FROM sale AS s
=> ORA-00933
SELECT 1
=> ORA-00923
SELECT 1 FROM dual;
=> ORA-00933
SELECT id FROM sale WHERE note ILIKE 'a%'
=> ORA-00920
SELECT id FROM sale WHERE (id, qty) > (1, 2)
=> ORA-01796
SELECT id FROM sale WHERE id
=> ORA-00920
SELECT id = 1 FROM sale
=> ORA-00923
SELECT TRUE FROM dual
=> ORA-00904 # "TRUE": invalid identifier
SELECT id FROM sale WHERE note = FALSE
=> ORA-00904 # "FALSE": invalid identifier
SELECT (1 FROM dual
=> ORA-00907
SELECT id, FROM sale
=> ORA-00936
SELECT id FROM sale WHERE
=> ORA-00936
SELECT id name extra FROM sale
=> ORA-00923
SELECT id FROM sale GROUP id
=> ORA-00924
SELECT id FROM sale ORDER id
=> ORA-00924
SELECT size FROM sale
=> ORA-00936
SELECT # FROM dual
=> ORA-00911
SELEKT 1 FROM dual
=> ORA-00900
SELECT id FROM sale WHERE id IN (1, 2
=> ORA-00907
BEGIN NULL; END;
=> ORA-06550
MERGE INTO sale s USING dual ON (1 = 1) WHEN MATCHED THEN UPDATE SET qty = 1
=> ORA-03001
SELECT id FROM sale SAMPLE (10)
=> ORA-03001

-- refused by name or type
SELECT nope FROM sale
=> ORA-00904 # "NOPE": invalid identifier
SELECT s.nope FROM sale s
=> ORA-00904 # "S"."NOPE": invalid identifier
SELECT sale.id FROM sale s
=> ORA-00904 # "SALE"."ID": invalid identifier
SELECT "id" FROM sale
=> ORA-00904 # "id": invalid identifier
SELECT _from_scn FROM sale
=> ORA-00911
SELECT "_from_scn" FROM sale
=> ORA-00904
SELECT 1 FROM nowhere
=> ORA-00942
SELECT 1 FROM hr.nowhere
=> ORA-00942
SELECT id FROM sale, hr.place
=> ORA-00918
SELECT IFNULL(1, 2) FROM dual
=> ORA-00904 # "IFNULL": invalid identifier
SELECT NOW() FROM dual
=> ORA-00904
SELECT SUBSTR('a') FROM dual
=> ORA-00938
SELECT NVL(1, 2, 3) FROM dual
=> ORA-00939
SELECT id FROM sale WHERE body = 'x'
=> ORA-00904
SELECT id FROM doc WHERE body = 'short'
=> ORA-00932
SELECT id FROM sale WHERE id BETWEEN 2 AND 3 AND NOT (qty IS NULL)
=> 2
SELECT id FROM sale AS OF SCN 99999999999
=> ORA-08181
SELECT id FROM sale AS OF SCN 5
=> ORA-01555
EXPLAIN PLAN FOR SELECT nope FROM sale
=> ORA-00904
EXPLAIN PLAN FOR SELECT 1/0 FROM sale
=> no rows
ALTER SESSION SET nonsense = 1
=> ORA-02248

SELECT FROM_TZ(stamp, '+07:00') FROM sale
=> ORA-03001
SELECT id FROM sale WHERE REGEXP_LIKE(note, 'a')
=> ORA-03001
SELECT COUNT(DISTINCT zoned), COUNT(zoned), COUNT(body) FROM sale, doc WHERE sale.id = doc.id
=> 2 | 2 | 2
SELECT zoned, COUNT(*) FROM sale GROUP BY zoned
=> ORA-03001

-- refused changes
INSERT INTO ledger (id, name) VALUES (1)
=> ORA-00947
INSERT INTO ledger (id, name) VALUES (1, 'a', 2)
=> ORA-00913
INSERT INTO ledger (id, nope) VALUES (1, 2)
=> ORA-00904
INSERT INTO ledger (id) VALUES (1)
=> ORA-01400 # cannot insert NULL into ("KPC"."LEDGER"."NAME")
INSERT INTO ledger (id, name) VALUES (1, 'elevenchars')
=> ORA-12899 # value too large for column "KPC"."LEDGER"."NAME" (actual: 11, maximum: 10)
INSERT INTO ledger (id, name, amount) VALUES (1, 'a', 12345.6)
=> ORA-01438
INSERT INTO ledger (id, name) SELECT 1, 'a' FROM dual UNION ALL SELECT 1, 'b' FROM dual
=> ORA-00001 # unique constraint (KPC.LEDGER_PK) violated
INSERT INTO hr.place (id, name) VALUES (2, 'x')
=> ORA-01031
UPDATE ledger SET nope = 1
=> ORA-00904
DELETE FROM nowhere
=> ORA-00942
