"""Tenants, stores, people and remarks of the sample data: invented, and awkward on purpose.

The literal "#N/A" is not among them: Bulk API reads it as NULL, so a row with it could never be
reconciled. Text of blanks alone is left out as well, because an org stores it as NULL.
"""

from __future__ import annotations

TENANTS = (
    "Siam Silk House Co., Ltd.",
    "ห้างทองเยาวราช โชคดี จำกัด",
    'Café "Lanna" & Company',
    "Chao Phraya Cosmetics (1998)",
    "ร้านขนมไทย แม่ประนอม",
    "Andaman Pearls",
    "O'Malley's Irish Pub, Don Mueang",
    "Bangkok Spirits & Cellars",
    "สยามกาแฟ คั่วสด ☕",
    "Golden Lotus Jewellery",
    "Thonglor Timepieces",
    "Mango Tree Confectionery",
    "สมุนไพรไทย เจริญสุข",
    "Isan Craft Collective",
    "Sukhothai Ceramics",
    "Rattanakosin Leather Goods",
    "น้ำหอม ปารีส-กรุงเทพ",
    "Tuk Tuk Toys 🛺",
    "Coconut & Co.",
    "Phuket Sunwear",
    "บ้านชาไทย ตรามือทอง",
    "Ayutthaya Antiques (replicas)",
    "Chiang Mai Umbrella Works",
    "Royal Orchid Chocolatier",
    "Silom Electronics; Cameras",
    "ผ้าไหม จิม สุริยา",
    "Samui Spa Essentials",
    "Elephant Parade Gifts",
    "Nimman Eyewear",
    "Krungthep Tobacco & Cigars",
    "เครื่องหนัง ช้างแดง",
    "Mekong Rum Distillers",
    "Ratchada Fashion Outlet",
    "Muay Thai Sportswear",
    "ของฝาก ป้าสมศรี\tสาขาสนามบิน",
    "Lumphini Luggage",
    "Sathorn Skincare Lab",
    "Wat Pho Wellness",
    "Durian Dynasty",
    "Zen Garden Tea – ชาเซน",
)
"""Names of the tenants; a tenant's number is its place here."""

LOCATIONS = (
    ("BKK", "Suvarnabhumi"),
    ("DMK", "Don Mueang"),
    ("RGN", "Rangnam Downtown"),
)
"""Every tenant has one store at each: prefix of the store's code, name of the place."""

SUPPLIERS = (
    "Thai POS Systems Plc.",
    "บริษัท เครื่องคิดเงินไทย จำกัด",
    "Andaman Retail Tech",
    'Bangkok "Cloud" Tills, Ltd.',
    "ศูนย์บริการ 24 ชั่วโมง",
    "Receipts & Rolls",
    "Nüremberg Waagen GmbH",
)

PEOPLE = (
    "Somchai Jaidee",
    "สมหญิง รักไทย",
    "  Leading Blanks",
    "Trailing Blanks  ",
    'Niran "Nui" Chaiyasit',
    "D'Angelo, Marco",
    "วรรณา ทองคำ, ผู้จัดการ",
    "José Müller-Nguyễn",
    "Ploy 🌸",
    "王小明",
    "Anan\tSrisuk",
)

REMARKS = (
    "ลูกค้าขอใบกำกับภาษีเต็มรูป",
    'Customer said: "keep the change", then left',
    "first line\nsecond line",
    "บรรทัดแรก\r\nบรรทัดที่สอง\r\n",
    "an old terminal wrote\ra lone carriage return",
    "column\tcolumn\tcolumn",
    "ของขวัญ 🎁 ห่อแล้ว ✅ 👨‍👩‍👧",
    "  blanks in front and behind  ",
    "comma, semicolon; pipe | caret ^ backslash \\ percent %",
    '"',
    '"quoted from end to end"',
    "it's the tenant's own",
    "ราคา ฿1,250.00 (รวม VAT 7%)",
    "zero\u200bwidth and a line\u2028separator",
    "<b>not markup</b> &amp; not an entity",
    "x",
)

SLIPS = (
    "0000123456",
    "007",
    "1E5",
    "NaN",
    "NULL",
    "null",
    "NA",
    "N/A",
    "None",
    "TRUE",
    "-",
    "=1+1",
    "0x1F",
    "1,234.50",
    "2022-02-30",
    "inf",
    "12345678901234567890",
)
"""Slip numbers that a reader which guesses types turns into something else."""

PRODUCTS = (
    "Whisky 12 Years 1L",
    "น้ำหอม 50ml",
    'Suitcase 28", black',
    "Chocolate, assorted",
    "Silk scarf ผ้าไหม",
    "Gold necklace 1 บาท",
)

DESCRIPTIONS = (
    "ค่าเช่าพื้นที่",
    "Service charge, common area",
    'Marketing fund ("A&P")',
    "ค่าไฟฟ้า / ค่าน้ำ",
    "Credit note: over-charged in the month before",
)

REASONS = (
    "ยอดไม่ตรงกับเครื่อง POS",
    'Cashier\'s drawer was short, see "slip"',
    "  as agreed  ",
)

LONG_REMARK = 'ยอดขายถูกตรวจสอบแล้ว, see the "daily sheet".\n'
"""Repeated for the remarks of thousands of characters."""


def tenants() -> list[tuple[str, str]]:
    """Code and name of every tenant."""
    return [(f"T{number:04}", name) for number, name in enumerate(TENANTS, 1)]


def stores() -> list[tuple[str, str, str]]:
    """Code, name and tenant's code of every store; the stores of a tenant follow one another."""
    return [
        (f"{prefix}-{number:03}", f"{name} {place}", f"T{number:04}")
        for number, name in enumerate(TENANTS, 1)
        for prefix, place in LOCATIONS
    ]
