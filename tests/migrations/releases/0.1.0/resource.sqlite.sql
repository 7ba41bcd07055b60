BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE invoice (
	id VARCHAR(64) NOT NULL, 
	owner_sub VARCHAR(64) NOT NULL, 
	number VARCHAR(40) NOT NULL, 
	supplier VARCHAR(100) NOT NULL, 
	description VARCHAR(200) NOT NULL, 
	amount_minor BIGINT NOT NULL, 
	currency VARCHAR(3) NOT NULL, 
	issued_on VARCHAR(10) NOT NULL, 
	due_on VARCHAR(10) NOT NULL, 
	state VARCHAR(10) NOT NULL, 
	paid_at DOUBLE, 
	PRIMARY KEY (id)
);
INSERT INTO "invoice" VALUES('inv_d0e245e7a9d51ea096b5','usr_test-id-00000000000001','Nº-3','Wonderland Tea House','Tea for three, and a dormouse',4850,'GBP','2026-11-02','2026-12-31','open',NULL);
INSERT INTO "invoice" VALUES('inv_4686532bd5edcfc46635','usr_test-id-00000000000001','Nº-2','Queen of Hearts’ Bäckerei','Forty tarts; ''stolen''',5600,'GBP','2026-10-14','2026-12-31','paid',1.78677325792734694484e+09);
INSERT INTO "invoice" VALUES('inv_95695ae028fef77d7247','usr_test-id-00000000000001','Nº-1','白兎時計店','Repair of a pocket watch ⌚',7250,'JPY','2026-09-08','2026-12-31','open',NULL);
INSERT INTO "invoice" VALUES('inv_6a118635f2c750576c4c','usr_test-id-00000000000003','RE-2','Kran & Söhne','12 m³ Beton',9007199254740993,'EUR','2026-11-05','2026-12-31','open',NULL);
INSERT INTO "invoice" VALUES('inv_e909ee2a95e1e06cd31b','usr_test-id-00000000000003','RE-1','Autohaus Süd','50 % Skonto \ bar',67210,'EUR','2026-07-20','2026-12-31','paid',NULL);
CREATE TABLE profile (
	owner_sub VARCHAR(64) NOT NULL, 
	name VARCHAR(100) NOT NULL, 
	email VARCHAR(200), 
	PRIMARY KEY (owner_sub)
);
INSERT INTO "profile" VALUES('usr_test-id-00000000000001','Alice Liddéll','alice@wonderland.test');
INSERT INTO "profile" VALUES('usr_test-id-00000000000003','Zoë Ångström – 張',NULL);
CREATE INDEX ix_invoice_owner ON invoice (owner_sub, issued_on);
COMMIT;
