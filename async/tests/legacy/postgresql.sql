CREATE TABLE public.async_error (
    id integer NOT NULL,
    executed timestamp with time zone NOT NULL,
    exception text NOT NULL,
    traceback text NOT NULL,
    job_id integer NOT NULL
);
CREATE SEQUENCE public.async_error_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.async_error_id_seq OWNED BY public.async_error.id;
CREATE TABLE public.async_group (
    id integer NOT NULL,
    reference character varying(100) NOT NULL,
    description text,
    created timestamp with time zone NOT NULL,
    final_id integer
);
CREATE SEQUENCE public.async_group_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.async_group_id_seq OWNED BY public.async_group.id;
CREATE TABLE public.async_job (
    id integer NOT NULL,
    name character varying(100) NOT NULL,
    args text NOT NULL,
    kwargs text NOT NULL,
    meta text NOT NULL,
    result text NOT NULL,
    priority integer NOT NULL,
    identity character varying(100) NOT NULL,
    added timestamp with time zone NOT NULL,
    scheduled timestamp with time zone,
    started timestamp with time zone,
    executed timestamp with time zone,
    cancelled timestamp with time zone,
    group_id integer
);
CREATE SEQUENCE public.async_job_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.async_job_id_seq OWNED BY public.async_job.id;
CREATE TABLE public.django_content_type (
    id integer NOT NULL,
    app_label character varying(100) NOT NULL,
    model character varying(100) NOT NULL
);
CREATE SEQUENCE public.django_content_type_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.django_content_type_id_seq OWNED BY public.django_content_type.id;
CREATE TABLE public.django_migrations (
    id integer NOT NULL,
    app character varying(255) NOT NULL,
    name character varying(255) NOT NULL,
    applied timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.django_migrations_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.django_migrations_id_seq OWNED BY public.django_migrations.id;
ALTER TABLE ONLY public.async_error ALTER COLUMN id SET DEFAULT nextval('public.async_error_id_seq'::regclass);
ALTER TABLE ONLY public.async_group ALTER COLUMN id SET DEFAULT nextval('public.async_group_id_seq'::regclass);
ALTER TABLE ONLY public.async_job ALTER COLUMN id SET DEFAULT nextval('public.async_job_id_seq'::regclass);
ALTER TABLE ONLY public.django_content_type ALTER COLUMN id SET DEFAULT nextval('public.django_content_type_id_seq'::regclass);
ALTER TABLE ONLY public.django_migrations ALTER COLUMN id SET DEFAULT nextval('public.django_migrations_id_seq'::regclass);
INSERT INTO public.async_error VALUES (1, '2017-03-01 09:01:02.000062+00', 'ConnectionError(''The stock server does not answer'',)', 'Traceback (most recent call last):
  File "async/models.py", line 223, in execute
    return atomic(execute)()
  File "contextlib.py", line 52, in inner
    return func(*args, **kwds)
  File "async/models.py", line 217, in execute
    result = function(*args, **kwargs)
  File "cases.py", line 94, in note
    return call()
  File "cases.py", line 106, in outage
    raise ConnectionError("The stock server does not answer")
ConnectionError: The stock server does not answer
', 19);
INSERT INTO public.async_error VALUES (2, '2017-03-01 09:01:05.000065+00', 'ConnectionError(''The stock server does not answer'',)', 'Traceback (most recent call last):
  File "async/models.py", line 223, in execute
    return atomic(execute)()
  File "contextlib.py", line 52, in inner
    return func(*args, **kwds)
  File "async/models.py", line 217, in execute
    result = function(*args, **kwargs)
  File "cases.py", line 94, in note
    return call()
  File "cases.py", line 106, in outage
    raise ConnectionError("The stock server does not answer")
ConnectionError: The stock server does not answer
', 20);
INSERT INTO public.async_error VALUES (3, '2017-03-01 09:01:11.000071+00', 'ValueError(''Kein Lagerplatz für 1 Stück'',)', 'Traceback (most recent call last):
  File "async/models.py", line 223, in execute
    return atomic(execute)()
  File "contextlib.py", line 52, in inner
    return func(*args, **kwds)
  File "async/models.py", line 217, in execute
    result = function(*args, **kwargs)
  File "cases.py", line 98, in fail
    raise ValueError(f"Kein Lagerplatz für {len(args)} Stück")
ValueError: Kein Lagerplatz für 1 Stück
', 21);
INSERT INTO public.async_error VALUES (4, '2017-03-01 09:01:15.000075+00', 'ValueError(''Kein Lagerplatz für 0 Stück'',)', 'Traceback (most recent call last):
  File "async/models.py", line 223, in execute
    return atomic(execute)()
  File "contextlib.py", line 52, in inner
    return func(*args, **kwds)
  File "async/models.py", line 217, in execute
    result = function(*args, **kwargs)
  File "cases.py", line 98, in fail
    raise ValueError(f"Kein Lagerplatz für {len(args)} Stück")
ValueError: Kein Lagerplatz für 0 Stück
', 22);
INSERT INTO public.async_error VALUES (5, '2017-03-01 09:01:18.000078+00', 'ValueError(''Kein Lagerplatz für 0 Stück'',)', 'Traceback (most recent call last):
  File "async/models.py", line 223, in execute
    return atomic(execute)()
  File "contextlib.py", line 52, in inner
    return func(*args, **kwds)
  File "async/models.py", line 217, in execute
    result = function(*args, **kwargs)
  File "cases.py", line 98, in fail
    raise ValueError(f"Kein Lagerplatz für {len(args)} Stück")
ValueError: Kein Lagerplatz für 0 Stück
', 22);
INSERT INTO public.async_error VALUES (6, '2017-03-01 09:01:21.000081+00', 'ValueError(''Kein Lagerplatz für 0 Stück'',)', 'Traceback (most recent call last):
  File "async/models.py", line 223, in execute
    return atomic(execute)()
  File "contextlib.py", line 52, in inner
    return func(*args, **kwds)
  File "async/models.py", line 217, in execute
    result = function(*args, **kwargs)
  File "cases.py", line 98, in fail
    raise ValueError(f"Kein Lagerplatz für {len(args)} Stück")
ValueError: Kein Lagerplatz für 0 Stück
', 22);
INSERT INTO public.async_error VALUES (7, '2017-03-01 09:01:24.000084+00', 'ValueError(''Kein Lagerplatz für 0 Stück'',)', 'Traceback (most recent call last):
  File "async/models.py", line 223, in execute
    return atomic(execute)()
  File "contextlib.py", line 52, in inner
    return func(*args, **kwds)
  File "async/models.py", line 217, in execute
    result = function(*args, **kwargs)
  File "cases.py", line 98, in fail
    raise ValueError(f"Kein Lagerplatz für {len(args)} Stück")
ValueError: Kein Lagerplatz für 0 Stück
', 22);
INSERT INTO public.async_error VALUES (8, '2017-03-01 09:01:27.000087+00', 'ValueError(''Kein Lagerplatz für 0 Stück'',)', 'Traceback (most recent call last):
  File "async/models.py", line 223, in execute
    return atomic(execute)()
  File "contextlib.py", line 52, in inner
    return func(*args, **kwds)
  File "async/models.py", line 217, in execute
    result = function(*args, **kwargs)
  File "cases.py", line 98, in fail
    raise ValueError(f"Kein Lagerplatz für {len(args)} Stück")
ValueError: Kein Lagerplatz für 0 Stück
', 22);
INSERT INTO public.async_error VALUES (9, '2017-03-01 09:01:30.00009+00', 'AttributeError("module ''suite.legacy'' has no attribute ''gone''",)', 'Traceback (most recent call last):
  File "async/models.py", line 211, in execute
    function = object_at_end_of_path(self.name)
  File "async/utils.py", line 50, in object_at_end_of_path
    return getattr(module, access_path[-1])
AttributeError: module ''suite.legacy'' has no attribute ''gone''
', 23);
INSERT INTO public.async_error VALUES (10, '2017-03-01 09:01:35.000095+00', 'TypeError("{''a set''} is not JSON serializable",)', 'Traceback (most recent call last):
  File "async/models.py", line 223, in execute
    return atomic(execute)()
  File "contextlib.py", line 52, in inner
    return func(*args, **kwds)
  File "async/models.py", line 220, in execute
    self.result = dumps(result)
  File "simplejson/__init__.py", line 380, in dumps
    return _default_encoder.encode(obj)
  File "simplejson/encoder.py", line 291, in encode
    chunks = self.iterencode(o, _one_shot=True)
  File "simplejson/encoder.py", line 373, in iterencode
    return _iterencode(o, 0)
  File "simplejson/encoder.py", line 268, in default
    raise TypeError(repr(o) + " is not JSON serializable")
TypeError: {''a set''} is not JSON serializable
', 24);
INSERT INTO public.async_error VALUES (11, '2017-03-01 09:01:41.000101+00', 'TransactionManagementError("An error occurred in the current transaction. You can''t execute queries until the end of the ''atomic'' block.",)', 'Traceback (most recent call last):
  File "async/models.py", line 223, in execute
    return atomic(execute)()
  File "contextlib.py", line 52, in inner
    return func(*args, **kwds)
  File "async/models.py", line 221, in execute
    self.save()
  File "async/models.py", line 197, in save
    return super(Job, self).save(*a, **kw)
  File "django/db/models/base.py", line 808, in save
    force_update=force_update, update_fields=update_fields)
  File "django/db/models/base.py", line 838, in save_base
    updated = self._save_table(raw, cls, force_insert, force_update, using, update_fields)
  File "django/db/models/base.py", line 905, in _save_table
    forced_update)
  File "django/db/models/base.py", line 955, in _do_update
    return filtered._update(values) > 0
  File "django/db/models/query.py", line 667, in _update
    return query.get_compiler(self.db).execute_sql(CURSOR)
  File "django/db/models/sql/compiler.py", line 1204, in execute_sql
    cursor = super(SQLUpdateCompiler, self).execute_sql(result_type)
  File "django/db/models/sql/compiler.py", line 899, in execute_sql
    raise original_exception
  File "django/db/models/sql/compiler.py", line 889, in execute_sql
    cursor.execute(sql, params)
  File "django/db/backends/utils.py", line 59, in execute
    self.db.validate_no_broken_transaction()
  File "django/db/backends/base/base.py", line 448, in validate_no_broken_transaction
    "An error occurred in the current transaction. You can''t "
django.db.transaction.TransactionManagementError: An error occurred in the current transaction. You can''t execute queries until the end of the ''atomic'' block.
', 25);
INSERT INTO public.async_error VALUES (12, '2017-03-01 09:01:47.000107+00', 'ConnectionError(''The stock server does not answer'',)', 'Traceback (most recent call last):
  File "async/models.py", line 223, in execute
    return atomic(execute)()
  File "contextlib.py", line 52, in inner
    return func(*args, **kwds)
  File "async/models.py", line 217, in execute
    result = function(*args, **kwargs)
  File "cases.py", line 94, in note
    return call()
  File "cases.py", line 106, in outage
    raise ConnectionError("The stock server does not answer")
ConnectionError: The stock server does not answer
', 26);
INSERT INTO public.async_error VALUES (13, '2017-03-01 09:01:58.000118+00', 'ValueError(''Kein Lagerplatz für 0 Stück'',)', 'Traceback (most recent call last):
  File "async/models.py", line 223, in execute
    return atomic(execute)()
  File "contextlib.py", line 52, in inner
    return func(*args, **kwds)
  File "async/models.py", line 217, in execute
    result = function(*args, **kwargs)
  File "cases.py", line 98, in fail
    raise ValueError(f"Kein Lagerplatz für {len(args)} Stück")
ValueError: Kein Lagerplatz für 0 Stück
', 30);
INSERT INTO public.async_error VALUES (14, '2017-03-01 09:02:36.000156+00', 'ConnectionError(''The stock server does not answer'',)', 'Traceback (most recent call last):
  File "async/models.py", line 223, in execute
    return atomic(execute)()
  File "contextlib.py", line 52, in inner
    return func(*args, **kwds)
  File "async/models.py", line 217, in execute
    result = function(*args, **kwargs)
  File "cases.py", line 94, in note
    return call()
  File "cases.py", line 106, in outage
    raise ConnectionError("The stock server does not answer")
ConnectionError: The stock server does not answer
', 56);
INSERT INTO public.async_group VALUES (1, 'import-2017-02', NULL, '2017-03-01 09:00:13.000013+00', NULL);
INSERT INTO public.async_group VALUES (2, 'näherei', 'Sewing, für die Näherei', '2017-03-01 09:00:18.000018+00', 7);
INSERT INTO public.async_group VALUES (3, 'empty', NULL, '2017-03-01 09:02:27.000147+00', NULL);
INSERT INTO public.async_group VALUES (4, 'orders', 'Orders of the day', '2017-03-01 09:02:28.000148+00', 52);
INSERT INTO public.async_group VALUES (5, 'stocktake', NULL, '2017-03-01 09:02:37.000157+00', NULL);
INSERT INTO public.async_group VALUES (6, 'stocktake', NULL, '2017-03-01 09:02:38.000158+00', NULL);
INSERT INTO public.async_group VALUES (7, 'partly', NULL, '2017-03-01 09:02:41.000161+00', NULL);
INSERT INTO public.async_group VALUES (8, 'näherei', 'Sewing, für die Näherei', '2017-03-01 09:02:46.000166+00', NULL);
INSERT INTO public.async_group VALUES (9, 'too late', NULL, '2017-03-01 09:02:48.000168+00', 63);
INSERT INTO public.async_group VALUES (10, 'first of two', NULL, '2017-03-01 09:02:54.000174+00', 64);
INSERT INTO public.async_group VALUES (11, 'second of two', NULL, '2017-03-01 09:02:55.000175+00', 64);
INSERT INTO public.async_job VALUES (1, 'async.api.remove_old_jobs', '[]', '{}', '{}', 'null', 5, '1d9cb1d795ce9043c47ac3f1c4381e6200c34ca5', '2017-03-01 09:00:04.000004+00', NULL, '2017-03-01 09:00:06.000006+00', '2017-03-01 09:00:10.00001+00', NULL, NULL);
INSERT INTO public.async_job VALUES (2, 'async.api.remove_old_jobs', '[30, 8]', '{}', '{}', '', 5, 'a11fe75dfb5541e7cd26206b8235557a5a296527', '2017-03-01 09:00:09.000009+00', '2017-03-01 17:00:08.000008+00', NULL, NULL, '2017-03-01 09:00:11.000011+00', NULL);
INSERT INTO public.async_job VALUES (3, 'async.api.remove_old_jobs', '[30, 8]', '{}', '{}', '', 5, 'a11fe75dfb5541e7cd26206b8235557a5a296527', '2017-03-01 09:00:12.000012+00', '2099-01-01 00:00:00+00', NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (6, 'suite.legacy.note', '["imported", 2]', '{}', '{}', '', 5, '5c77fc9f61e01b09c8f0b0b05d8d40850a80a8cb', '2017-03-01 09:00:16.000016+00', NULL, NULL, NULL, '2017-03-01 09:00:17.000017+00', 1);
INSERT INTO public.async_job VALUES (4, 'suite.legacy.note', '["imported", 0]', '{}', '{}', '[2, []]', 5, '586afeb67b89bad6dc9b6748d4bfe346714f83c2', '2017-03-01 09:00:14.000014+00', NULL, '2017-03-01 09:00:22.000022+00', '2017-03-01 09:00:23.000023+00', NULL, 1);
INSERT INTO public.async_job VALUES (5, 'suite.legacy.note', '["imported", 1]', '{}', '{}', '[2, []]', 5, '415162ec0e57037d3f18def65f88400efcce6729', '2017-03-01 09:00:15.000015+00', NULL, '2017-03-01 09:00:24.000024+00', '2017-03-01 09:00:25.000025+00', NULL, 1);
INSERT INTO public.async_job VALUES (8, 'suite.legacy.note', '["sewn"]', '{}', '{}', '[1, []]', 5, '5f8df9201662a26f5f510273593ea17adc0817c0', '2017-03-01 09:00:20.00002+00', NULL, '2017-03-01 09:00:26.000026+00', '2017-03-01 09:00:27.000027+00', NULL, 2);
INSERT INTO public.async_job VALUES (7, 'suite.legacy.note', '["swept up"]', '{}', '{}', '[1, []]', 5, '912d0d8bad2f35e10534c0bf30875317c1f85785', '2017-03-01 09:00:19.000019+00', NULL, '2017-03-01 09:00:28.000028+00', '2017-03-01 09:00:29.000029+00', NULL, 2);
INSERT INTO public.async_job VALUES (9, 'suite.legacy.note', '["result", "None"]', '{}', '{}', 'null', 5, '2f61c0a3dcb04f6773b9b7579be646bba8962ed4', '2017-03-01 09:00:30.00003+00', NULL, '2017-03-01 09:00:31.000031+00', '2017-03-01 09:00:32.000032+00', NULL, NULL);
INSERT INTO public.async_job VALUES (10, 'suite.legacy.note', '["result", "a list"]', '{}', '{}', '[1, "two", 3.5]', 5, 'ce75a54252e65027975391a1069a1472920f4ed0', '2017-03-01 09:00:33.000033+00', NULL, '2017-03-01 09:00:34.000034+00', '2017-03-01 09:00:35.000035+00', NULL, NULL);
INSERT INTO public.async_job VALUES (11, 'suite.legacy.note', '["result", "text beyond ASCII"]', '{}', '{}', '"Gr\u00fc\u00dfe aus K\u00f6ln, \u6771\u4eac"', 5, '68f599b05290bd8f109080c351fdb08472d5bb18', '2017-03-01 09:00:36.000036+00', NULL, '2017-03-01 09:00:37.000037+00', '2017-03-01 09:00:38.000038+00', NULL, NULL);
INSERT INTO public.async_job VALUES (12, 'suite.legacy.note', '["result", "a float"]', '{}', '{}', '0.1', 5, '37f2b40f43b67bef0e6577c64f86d44a40297c54', '2017-03-01 09:00:39.000039+00', NULL, '2017-03-01 09:00:40.00004+00', '2017-03-01 09:00:41.000041+00', NULL, NULL);
INSERT INTO public.async_job VALUES (13, 'suite.legacy.note', '["result", "a nested dict"]', '{}', '{}', '{"stock": {"apples": [1, 2], "pears": null}, "open": true}', 5, 'd9001ca961a191cc70400560fa3e25086424156c', '2017-03-01 09:00:42.000042+00', NULL, '2017-03-01 09:00:43.000043+00', '2017-03-01 09:00:44.000044+00', NULL, NULL);
INSERT INTO public.async_job VALUES (14, 'suite.legacy.note', '["result", "a Decimal, stored as a number"]', '{}', '{}', '12.50', 5, '610d5f1d060ffe4bd53cca495be642fed00cb5e5', '2017-03-01 09:00:45.000045+00', NULL, '2017-03-01 09:00:46.000046+00', '2017-03-01 09:00:47.000047+00', NULL, NULL);
INSERT INTO public.async_job VALUES (15, 'suite.legacy.note', '["result", "NaN, which strict JSON has not"]', '{}', '{}', 'NaN', 5, 'cb868c51558d814e799fd5212edfff573038b7b7', '2017-03-01 09:00:48.000048+00', NULL, '2017-03-01 09:00:49.000049+00', '2017-03-01 09:00:50.00005+00', NULL, NULL);
INSERT INTO public.async_job VALUES (16, 'async.tests.test_models._fn', '[]', '{}', '{}', 'null', 5, '289dbff9c1bd746fc444a20d396986857a6e8f04', '2017-03-01 09:00:51.000051+00', NULL, '2017-03-01 09:00:52.000052+00', '2017-03-01 09:00:53.000053+00', NULL, NULL);
INSERT INTO public.async_job VALUES (17, 'async.tests.test_models._fn', '[]', '{"k": "v", "x": null}', '{}', '', 5, '236a244a0cd845bb5a427db495ec830fa4ab9d93', '2017-03-01 09:00:54.000054+00', NULL, NULL, NULL, '2017-03-01 09:00:55.000055+00', NULL);
INSERT INTO public.async_job VALUES (18, 'async.tests.test_models._fn', '["argument"]', '{"k": "v", "x": null}', '{}', '', 5, '9abc86055107d5b5aa97ea32e098580543680c27', '2017-03-01 09:00:56.000056+00', NULL, NULL, NULL, '2017-03-01 09:00:57.000057+00', NULL);
INSERT INTO public.async_job VALUES (20, 'suite.legacy.note', '["due again"]', '{}', '{}', '', 4, '98966e70518d41cdd9bf3e78664537359af84951', '2017-03-01 09:00:59.000059+00', '2017-03-01 09:02:04.000064+00', NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (19, 'suite.legacy.note', '["recovered"]', '{}', '{}', '[1, []]', 4, '649f677a6555c0c223bc20c4a485ec4f76507b5d', '2017-03-01 09:00:58.000058+00', '2017-03-01 09:02:01.000061+00', '2017-03-01 09:01:06.000066+00', '2017-03-01 09:01:07.000067+00', NULL, NULL);
INSERT INTO public.async_job VALUES (32, 'suite.legacy.note', '["revived"]', '{}', '{}', '[1, []]', 5, '5273f799fd9d3c562d53e86454bc9fe142860dcc', '2017-03-01 09:02:02.000122+00', NULL, '2017-03-01 09:02:04.000124+00', '2017-03-01 09:02:05.000125+00', NULL, NULL);
INSERT INTO public.async_job VALUES (21, 'suite.legacy.fail', '["waiting"]', '{}', '{}', '', 4, 'c5ca42800ea814387810f2d2e12c2c6d8a6ee5a6', '2017-03-01 09:01:08.000068+00', '2099-01-01 00:00:00+00', NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (33, 'suite.legacy.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', '[]', '{}', '{}', '', 5, '9fd508e4f88c784dd42bca628b2b3c0d701f44e5', '2017-03-01 09:02:06.000126+00', NULL, NULL, NULL, '2017-03-01 09:02:07.000127+00', NULL);
INSERT INTO public.async_job VALUES (22, 'suite.legacy.fail', '[]', '{"stubborn": true}', '{}', '', 0, '3e06627d02cbdc2d01382347ec37caa7443251b8', '2017-03-01 09:01:12.000072+00', '2017-03-01 09:14:33.958427+00', NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (23, 'suite.legacy.gone', '[]', '{}', '{}', '', 4, 'ef7b28993a938fcb1b110b1d84ae3f3e7ed94844', '2017-03-01 09:01:28.000088+00', '2017-03-01 09:02:29.000089+00', NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (24, 'suite.legacy.unserialisable', '[]', '{}', '{}', '', 4, 'f9a4e8e0e9c0ba6c9f2c2da228118603f005b549', '2017-03-01 09:01:31.000091+00', '2017-03-01 09:02:34.000094+00', NULL, '2017-03-01 09:01:33.000093+00', NULL, NULL);
INSERT INTO public.async_job VALUES (25, 'suite.legacy.note', '["swallowed"]', '{}', '{}', 'null', 4, '5fc7f2d16d5a269ca20d69130d43c6ddb3aed4c8', '2017-03-01 09:01:36.000096+00', '2017-03-01 09:02:40.0001+00', NULL, '2017-03-01 09:01:39.000099+00', NULL, NULL);
INSERT INTO public.async_job VALUES (34, 'suite.legacy.note', '["priority", 5]', '{}', '{}', '', 5, 'f6600fb8b58d1504e94e0565baaf65cf369c78fd', '2017-03-01 09:02:08.000128+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (26, 'suite.legacy.note', '["again"]', '{}', '{}', '[1, []]', 4, 'f765992356ea3fb8ebfb8df1d0fdb802b9098836', '2017-03-01 09:01:42.000102+00', '2017-03-01 09:02:46.000106+00', NULL, '2017-03-01 09:01:44.000104+00', NULL, NULL);
INSERT INTO public.async_job VALUES (35, 'suite.legacy.note', '["priority", -3]', '{}', '{}', '', -3, '8aa2427275f28e4978e6b3564e22a4d7872d5053', '2017-03-01 09:02:09.000129+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (27, 'suite.legacy.note', '["both"]', '{}', '{}', '[1, []]', 5, 'c5ab2220bf792945211dd1aceb2b79b7a667c7c2', '2017-03-01 09:01:48.000108+00', NULL, '2017-03-01 09:01:49.000109+00', '2017-03-01 09:01:50.00011+00', '2017-03-01 09:01:51.000111+00', NULL);
INSERT INTO public.async_job VALUES (28, 'suite.legacy.note', '["twin"]', '{}', '{}', '', 5, '9ca8f938976641aaa54654955f79f063b54d7edd', '2017-03-01 09:01:52.000112+00', NULL, NULL, NULL, '2017-03-01 09:01:54.000114+00', NULL);
INSERT INTO public.async_job VALUES (29, 'suite.legacy.note', '["twin"]', '{}', '{}', '', 7, '9ca8f938976641aaa54654955f79f063b54d7edd', '2017-03-01 09:01:53.000113+00', NULL, NULL, NULL, '2017-03-01 09:01:54.000114+00', NULL);
INSERT INTO public.async_job VALUES (36, 'suite.legacy.note', '["priority", 0]', '{}', '{}', '', 0, 'c107540b11abb6efd8a67535836781885d5376fe', '2017-03-01 09:02:10.00013+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (30, 'suite.legacy.fail', '[]', '{}', '{}', '', 4, '8c62026e452f8c4666ee858acb98031f13654959', '2017-03-01 09:01:55.000115+00', '2017-03-01 09:02:57.000117+00', NULL, NULL, '2017-03-01 09:01:59.000119+00', NULL);
INSERT INTO public.async_job VALUES (31, 'suite.legacy.note', '["postponed"]', '{}', '{}', '', 5, 'fb6c6805145b1c63f379929c19594ce81946993a', '2017-03-01 09:02:00.00012+00', '2099-01-01 00:00:00+00', NULL, NULL, '2017-03-01 09:02:01.000121+00', NULL);
INSERT INTO public.async_job VALUES (37, 'suite.legacy.note', '["priority", 100]', '{}', '{}', '', 100, '6b77d7973257664107774928375e2343be6c7123', '2017-03-01 09:02:11.000131+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (38, 'suite.legacy.note', '["past"]', '{}', '{}', '', 5, '0f7cbe63e373f6884e61525f3982bc54d5d94e38', '2017-03-01 09:02:13.000133+00', '2017-02-28 09:02:12.000131+00', NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (39, 'suite.legacy.note', '["future"]', '{}', '{}', '', 5, '98e51775c31a34b1befe4c6762a8d31b1325a203', '2017-03-01 09:02:14.000134+00', '2099-01-01 00:00:00+00', NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (40, 'suite.legacy.note', '["meta"]', '{}', '{"asked by": "Zo\u00eb", "max_attempts": 3}', '', 5, 'ca05b8ff43a72ab7a4c432b9b1b1e48100dc1bde', '2017-03-01 09:02:15.000135+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (41, 'suite.legacy.unserialisable', '["pending"]', '{}', '{}', '', 5, '70f946a987af5c55cf55dae1776b885bb6da007b', '2017-03-01 09:02:16.000136+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (42, 'suite.legacy.note', '["Gr\u00f6\u00dfe", "na\u00efve caf\u00e9", "\u6771\u4eac"]', '{"stra\u00dfe": "\u00d6sterreich"}', '{}', '', 5, 'a88bd228dbcab3713e55a86c8b240af6e5ec9149', '2017-03-01 09:02:17.000137+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (43, 'suite.legacy.note', '[0.1, -0.0, 1e+100, 1e-07, 2.0]', '{}', '{}', '', 5, '8847a7de9babcc8cf7f0f19bf5c2e40fe074a254', '2017-03-01 09:02:18.000138+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (44, 'suite.legacy.note', '[null, true, false]', '{"nothing": null}', '{}', '', 5, '94dc22fd8ec4891ac80ac2832640a012c95d5f57', '2017-03-01 09:02:19.000139+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (45, 'suite.legacy.note', '[[1, [2, []]], {"b": {"a": [null]}, "a": {}}]', '{"deep": [{"k": 1}]}', '{}', '', 5, '44c054bf3dbab85a5576ebfec7ecc10c5d8fa310', '2017-03-01 09:02:20.00014+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (46, 'suite.legacy.note', '[]', '{"zebra": 1, "apple": 2, "mango": 3}', '{}', '', 5, '71fee26d84d33c3ea9690356441c53784f7a1205', '2017-03-01 09:02:21.000141+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (47, 'suite.legacy.note', '[1, [2, 3]]', '{}', '{}', '', 5, '174ea46c675541bfc5b0ba4af92462ae8a5b6b33', '2017-03-01 09:02:22.000142+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (48, 'suite.legacy.note', '["it''s \"so\" \\ 100%\n\tend"]', '{}', '{}', '', 5, '7f3da326ec8ecc41ce9f5e39620b116aa9d93766', '2017-03-01 09:02:23.000143+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (49, 'suite.legacy.note', '[1180591620717411303424]', '{}', '{}', '', 5, '93017c5ae145f29c6bfdec7bd695fc5d0dc24550', '2017-03-01 09:02:24.000144+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (50, 'suite.legacy.note', '[1.10]', '{}', '{}', '', 5, '5fa9bfa04bec713d26df77fbb4b85d6daf64ee6c', '2017-03-01 09:02:25.000145+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (51, 'suite.legacy.note', '[NaN]', '{}', '{}', '', 5, '6193c187911d5d5b7e0d60676612eb8e74c4aa27', '2017-03-01 09:02:26.000146+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (52, 'suite.legacy.note', '["reconciled"]', '{}', '{}', '', 9, '12fe0a36d7cf306a42efa6774497d8df8fd00d7b', '2017-03-01 09:02:29.000149+00', NULL, NULL, NULL, NULL, 4);
INSERT INTO public.async_job VALUES (53, 'suite.legacy.note', '["order", 0]', '{}', '{}', '', 5, '7825155ac9660f59bd92073925b7e5e95ea5952c', '2017-03-01 09:02:30.00015+00', NULL, NULL, NULL, NULL, 4);
INSERT INTO public.async_job VALUES (54, 'suite.legacy.note', '["order", 1]', '{}', '{}', '', 5, '094a2d2c9a49cbe78fce579dbf085010d72a5842', '2017-03-01 09:02:31.000151+00', NULL, NULL, NULL, NULL, 4);
INSERT INTO public.async_job VALUES (55, 'suite.legacy.note', '["order", 2]', '{}', '{}', '', 5, '01f0352e0b5402efd138d867f151731a829e00cd', '2017-03-01 09:02:32.000152+00', NULL, NULL, NULL, NULL, 4);
INSERT INTO public.async_job VALUES (56, 'suite.legacy.note', '["late order"]', '{}', '{}', '', -101, '9718c9a831282fda5dde80efea510ab17dddafe9', '2017-03-01 09:02:33.000153+00', '2017-03-01 09:03:35.000155+00', NULL, NULL, NULL, 4);
INSERT INTO public.async_job VALUES (57, 'suite.legacy.note', '["shelf", 0]', '{}', '{}', '', 5, '45af621b7af0d3ba02de3c13bc8cd1d02c4310bf', '2017-03-01 09:02:39.000159+00', NULL, NULL, NULL, NULL, 5);
INSERT INTO public.async_job VALUES (58, 'suite.legacy.note', '["shelf", 1]', '{}', '{}', '', 5, 'e5b51d88215c4a6b5914b2a72c0f1c18be2e3fce', '2017-03-01 09:02:40.00016+00', NULL, NULL, NULL, NULL, 6);
INSERT INTO public.async_job VALUES (60, 'suite.legacy.note', '["half", 1]', '{}', '{}', '', 5, '23ee305e735dd90bd81634aa10a0a17d72a9bdc0', '2017-03-01 09:02:43.000163+00', NULL, NULL, NULL, NULL, 7);
INSERT INTO public.async_job VALUES (59, 'suite.legacy.note', '["half", 0]', '{}', '{}', '[2, []]', 5, 'fd0f6ad3176cdde6bfdf2690a0c324fad0bd2480', '2017-03-01 09:02:42.000162+00', NULL, '2017-03-01 09:02:44.000164+00', '2017-03-01 09:02:45.000165+00', NULL, 7);
INSERT INTO public.async_job VALUES (61, 'suite.legacy.note', '["sewn again"]', '{}', '{}', '', 5, '5f8cbdcc6f5cc5ca638f438eb1da95255182a3b4', '2017-03-01 09:02:47.000167+00', NULL, NULL, NULL, NULL, 8);
INSERT INTO public.async_job VALUES (62, 'suite.legacy.note', '["too early"]', '{}', '{}', '[1, []]', 5, 'b26b78f0404ec7f9f8c1fb507873d02eac1995a6', '2017-03-01 09:02:49.000169+00', NULL, '2017-03-01 09:02:50.00017+00', '2017-03-01 09:02:51.000171+00', NULL, 9);
INSERT INTO public.async_job VALUES (63, 'suite.legacy.note', '["too late"]', '{}', '{}', '', 5, 'f56c8b99970df8c7e9cfa2d03792726115b1b964', '2017-03-01 09:02:52.000172+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.async_job VALUES (64, 'suite.legacy.note', '["shared"]', '{}', '{}', '', 5, 'b5439df00ee95d2c047a689a9b8364ca9ce0ef04', '2017-03-01 09:02:53.000173+00', NULL, NULL, NULL, NULL, 11);
INSERT INTO public.django_content_type VALUES (1, 'contenttypes', 'contenttype');
INSERT INTO public.django_content_type VALUES (2, 'async', 'error');
INSERT INTO public.django_content_type VALUES (3, 'async', 'group');
INSERT INTO public.django_content_type VALUES (4, 'async', 'job');
INSERT INTO public.django_migrations VALUES (1, 'async', '0001_initial', '2017-03-01 09:00:01.000001+00');
INSERT INTO public.django_migrations VALUES (2, 'contenttypes', '0001_initial', '2017-03-01 09:00:02.000002+00');
INSERT INTO public.django_migrations VALUES (3, 'contenttypes', '0002_remove_content_type_name', '2017-03-01 09:00:03.000003+00');
SELECT pg_catalog.setval('public.async_error_id_seq', 14, true);
SELECT pg_catalog.setval('public.async_group_id_seq', 11, true);
SELECT pg_catalog.setval('public.async_job_id_seq', 64, true);
SELECT pg_catalog.setval('public.django_content_type_id_seq', 4, true);
SELECT pg_catalog.setval('public.django_migrations_id_seq', 3, true);
ALTER TABLE ONLY public.async_error
    ADD CONSTRAINT async_error_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.async_group
    ADD CONSTRAINT async_group_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.async_job
    ADD CONSTRAINT async_job_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.django_content_type
    ADD CONSTRAINT django_content_type_app_label_model_76bd3d3b_uniq UNIQUE (app_label, model);
ALTER TABLE ONLY public.django_content_type
    ADD CONSTRAINT django_content_type_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.django_migrations
    ADD CONSTRAINT django_migrations_pkey PRIMARY KEY (id);
CREATE INDEX async_error_job_id_4eec4e83 ON public.async_error USING btree (job_id);
CREATE INDEX async_group_final_id_9c2712ba ON public.async_group USING btree (final_id);
CREATE INDEX async_job_group_id_542f3b60 ON public.async_job USING btree (group_id);
CREATE INDEX async_job_identity_8a1a9277 ON public.async_job USING btree (identity);
CREATE INDEX async_job_identity_8a1a9277_like ON public.async_job USING btree (identity varchar_pattern_ops);
ALTER TABLE ONLY public.async_error
    ADD CONSTRAINT async_error_job_id_4eec4e83_fk_async_job_id FOREIGN KEY (job_id) REFERENCES public.async_job(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.async_group
    ADD CONSTRAINT async_group_final_id_9c2712ba_fk_async_job_id FOREIGN KEY (final_id) REFERENCES public.async_job(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.async_job
    ADD CONSTRAINT async_job_group_id_542f3b60_fk_async_group_id FOREIGN KEY (group_id) REFERENCES public.async_group(id) DEFERRABLE INITIALLY DEFERRED;
