CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);

CREATE TABLE public.invoice (
    id character varying(64) NOT NULL,
    owner_sub character varying(64) NOT NULL,
    number character varying(40) NOT NULL,
    supplier character varying(100) NOT NULL,
    description character varying(200) NOT NULL,
    amount_minor bigint NOT NULL,
    currency character varying(3) NOT NULL,
    issued_on character varying(10) NOT NULL,
    due_on character varying(10) NOT NULL,
    state character varying(10) NOT NULL,
    paid_at double precision
);

CREATE TABLE public.profile (
    owner_sub character varying(64) NOT NULL,
    name character varying(100) NOT NULL,
    email character varying(200)
);

INSERT INTO public.alembic_version VALUES ('0001');

INSERT INTO public.invoice VALUES ('inv_d0e245e7a9d51ea096b5', 'usr_test-id-00000000000001', 'Nº-3', 'Wonderland Tea House', 'Tea for three, and a dormouse', 4850, 'GBP', '2026-11-02', '2026-12-31', 'open', NULL);
INSERT INTO public.invoice VALUES ('inv_95695ae028fef77d7247', 'usr_test-id-00000000000001', 'Nº-1', '白兎時計店', 'Repair of a pocket watch ⌚', 7250, 'JPY', '2026-09-08', '2026-12-31', 'open', NULL);
INSERT INTO public.invoice VALUES ('inv_6a118635f2c750576c4c', 'usr_test-id-00000000000003', 'RE-2', 'Kran & Söhne', '12 m³ Beton', 9007199254740993, 'EUR', '2026-11-05', '2026-12-31', 'open', NULL);
INSERT INTO public.invoice VALUES ('inv_e909ee2a95e1e06cd31b', 'usr_test-id-00000000000003', 'RE-1', 'Autohaus Süd', '50 % Skonto \ bar', 67210, 'EUR', '2026-07-20', '2026-12-31', 'paid', NULL);
INSERT INTO public.invoice VALUES ('inv_4686532bd5edcfc46635', 'usr_test-id-00000000000001', 'Nº-2', 'Queen of Hearts’ Bäckerei', 'Forty tarts; ''stolen''', 5600, 'GBP', '2026-10-14', '2026-12-31', 'paid', 1786773260.0961418);

INSERT INTO public.profile VALUES ('usr_test-id-00000000000001', 'Alice Liddéll', 'alice@wonderland.test');
INSERT INTO public.profile VALUES ('usr_test-id-00000000000003', 'Zoë Ångström – 張', NULL);

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY public.invoice
    ADD CONSTRAINT invoice_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.profile
    ADD CONSTRAINT profile_pkey PRIMARY KEY (owner_sub);

CREATE INDEX ix_invoice_owner ON public.invoice USING btree (owner_sub, issued_on);
