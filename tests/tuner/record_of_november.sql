BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'study/proposal');
INSERT INTO "studies" VALUES(2,'study/baseline');
INSERT INTO "studies" VALUES(3,'study/confirmation');
INSERT INTO "studies" VALUES(4,'study/pilot');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
INSERT INTO "study_directions" VALUES(2,'MAXIMIZE',2,0);
INSERT INTO "study_directions" VALUES(3,'MAXIMIZE',3,0);
INSERT INTO "study_directions" VALUES(4,'MAXIMIZE',4,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'schema','1');
INSERT INTO "study_user_attributes" VALUES(2,1,'uuid','"u1"');
INSERT INTO "study_user_attributes" VALUES(3,1,'spec','{"name": "study", "task": "analytic:TASK", "plan": {"lr": 0.01, "diverge_above": 1000000000.0, "diverge_at": 0, "raise_at": 0, "die_at": 0, "die_once_at": 0, "end_before": 0, "forget": false}, "space": {"sites": ["down0", "up0", "code"], "max_sites": 2, "regularizers": {"l1": {"weight": [0.001, 1.0]}, "l0": {"keep": [0.05, 0.5]}, "l0inf": {"k": {"down0": [1, 7], "up0": [1, 7], "code": [1, 15]}}}, "extras": {}}, "budget": {"trials": 6, "steps": 270, "grace": 30, "reduction": 3, "baseline_seeds": 1, "evaluate_at": []}, "search": {"sampler": "tpe", "scheduler": "asha", "seed": 0, "startup_trials": 2}, "resources": {"cpu": 1, "gpu": 0, "concurrent": null}, "checkpoint_every": "5m", "retries": 3, "storage": null, "database": null, "tracking": "sqlite:///mlflow.db", "time": null, "uuid": "u1"}');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,30,20.03,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,1,90,20.09,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,1,270,20.27,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,2,30,1.03,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(5,2,90,1.09,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(6,2,270,1.27,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(7,3,30,0.53,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(8,6,30,3.0,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,2,'count',2.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 2}}');
INSERT INTO "trial_params" VALUES(2,2,'site1',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["down0", "up0", "code"]}}');
INSERT INTO "trial_params" VALUES(3,2,'site2|down0',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["up0", "code"]}}');
INSERT INTO "trial_params" VALUES(4,2,'down0.kind',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["l1", "l0", "l0inf"]}}');
INSERT INTO "trial_params" VALUES(5,2,'down0.l0inf',6.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 7}}');
INSERT INTO "trial_params" VALUES(6,2,'up0.kind',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["l1", "l0", "l0inf"]}}');
INSERT INTO "trial_params" VALUES(7,2,'up0.l0inf',7.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 7}}');
INSERT INTO "trial_params" VALUES(8,3,'count',2.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 2}}');
INSERT INTO "trial_params" VALUES(9,3,'site1',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["down0", "up0", "code"]}}');
INSERT INTO "trial_params" VALUES(10,3,'site2|up0',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["down0", "code"]}}');
INSERT INTO "trial_params" VALUES(11,3,'up0.kind',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["l1", "l0", "l0inf"]}}');
INSERT INTO "trial_params" VALUES(12,3,'up0.l0inf',3.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 7}}');
INSERT INTO "trial_params" VALUES(13,3,'code.kind',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["l1", "l0", "l0inf"]}}');
INSERT INTO "trial_params" VALUES(14,3,'code.l0inf',1.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 15}}');
INSERT INTO "trial_params" VALUES(15,4,'count',2.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 2}}');
INSERT INTO "trial_params" VALUES(16,4,'site1',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["down0", "up0", "code"]}}');
INSERT INTO "trial_params" VALUES(17,4,'site2|down0',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["up0", "code"]}}');
INSERT INTO "trial_params" VALUES(18,4,'down0.kind',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["l1", "l0", "l0inf"]}}');
INSERT INTO "trial_params" VALUES(19,4,'down0.l0inf',5.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 7}}');
INSERT INTO "trial_params" VALUES(20,4,'up0.kind',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["l1", "l0", "l0inf"]}}');
INSERT INTO "trial_params" VALUES(21,4,'up0.l0inf',4.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 7}}');
INSERT INTO "trial_params" VALUES(22,5,'count',1.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 2}}');
INSERT INTO "trial_params" VALUES(23,5,'site1',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["down0", "up0", "code"]}}');
INSERT INTO "trial_params" VALUES(24,5,'down0.kind',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["l1", "l0", "l0inf"]}}');
INSERT INTO "trial_params" VALUES(25,5,'down0.l1',8.15036312707211746397e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.001, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(26,6,'count',1.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 2}}');
INSERT INTO "trial_params" VALUES(27,6,'site1',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["down0", "up0", "code"]}}');
INSERT INTO "trial_params" VALUES(28,6,'down0.kind',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["l1", "l0", "l0inf"]}}');
INSERT INTO "trial_params" VALUES(29,6,'down0.l0inf',7.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 7}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_system_attributes" VALUES(1,4,'constraints:finite','1.0');
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(2,1,'settings','{}');
INSERT INTO "trial_user_attributes" VALUES(3,1,'extras','{}');
INSERT INTO "trial_user_attributes" VALUES(4,1,'evaluation:30','{"seq": 0, "time": 1795651150.7724104, "metrics": {"score": 20.03, "noise": 0.25}}');
INSERT INTO "trial_user_attributes" VALUES(5,1,'evaluation:90','{"seq": 1, "time": 1795651150.892376, "metrics": {"score": 20.09, "noise": 0.25}}');
INSERT INTO "trial_user_attributes" VALUES(6,1,'evaluation:270','{"seq": 2, "time": 1795651150.9716368, "metrics": {"score": 20.27, "noise": 0.25}}');
INSERT INTO "trial_user_attributes" VALUES(7,2,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(8,2,'settings','{"down0": {"kind": "l0inf", "k": 6}, "up0": {"kind": "l0inf", "k": 7}}');
INSERT INTO "trial_user_attributes" VALUES(9,2,'extras','{}');
INSERT INTO "trial_user_attributes" VALUES(10,2,'evaluation:30','{"seq": 3, "time": 1795651151.494301, "metrics": {"score": 1.03, "noise": 0.25}}');
INSERT INTO "trial_user_attributes" VALUES(11,2,'evaluation:90','{"seq": 4, "time": 1795651151.55995, "metrics": {"score": 1.09, "noise": 0.25}}');
INSERT INTO "trial_user_attributes" VALUES(12,2,'evaluation:270','{"seq": 5, "time": 1795651151.6712048, "metrics": {"score": 1.27, "noise": 0.25}}');
INSERT INTO "trial_user_attributes" VALUES(13,3,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(14,3,'settings','{"up0": {"kind": "l0inf", "k": 3}, "code": {"kind": "l0inf", "k": 1}}');
INSERT INTO "trial_user_attributes" VALUES(15,3,'extras','{}');
INSERT INTO "trial_user_attributes" VALUES(16,3,'evaluation:30','{"seq": 6, "time": 1795651152.1172564, "metrics": {"score": 0.53, "noise": 0.25}}');
INSERT INTO "trial_user_attributes" VALUES(17,3,'reason','"behind at step 30"');
INSERT INTO "trial_user_attributes" VALUES(18,4,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(19,4,'settings','{"down0": {"kind": "l0inf", "k": 5}, "up0": {"kind": "l0inf", "k": 4}}');
INSERT INTO "trial_user_attributes" VALUES(20,4,'extras','{}');
INSERT INTO "trial_user_attributes" VALUES(21,4,'evaluation:30','{"seq": 7, "time": 1795651152.6644654, "metrics": {"score": NaN, "noise": 0.25}}');
INSERT INTO "trial_user_attributes" VALUES(22,4,'reason','"diverged"');
INSERT INTO "trial_user_attributes" VALUES(23,5,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(24,5,'settings','{"down0": {"kind": "l1", "weight": 0.008150363127072117}}');
INSERT INTO "trial_user_attributes" VALUES(25,5,'extras','{}');
INSERT INTO "trial_user_attributes" VALUES(26,5,'reason','"the training broke"');
INSERT INTO "trial_user_attributes" VALUES(27,6,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(28,6,'settings','{"down0": {"kind": "l0inf", "k": 7}}');
INSERT INTO "trial_user_attributes" VALUES(29,6,'extras','{}');
INSERT INTO "trial_user_attributes" VALUES(30,6,'evaluation:30','{"seq": 8, "time": 1795651153.6579278, "metrics": {"score": 3.0, "noise": 0.25}}');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,20.27,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,1.27,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,2,'COMPLETE','2026-11-25 23:59:10.537849','2026-11-25 23:59:11.132623');
INSERT INTO "trials" VALUES(2,0,1,'COMPLETE','2026-11-25 23:59:11.216229','2026-11-25 23:59:11.824659');
INSERT INTO "trials" VALUES(3,1,1,'PRUNED','2026-11-25 23:59:11.848687','2026-11-25 23:59:12.384523');
INSERT INTO "trials" VALUES(4,2,1,'PRUNED','2026-11-25 23:59:12.445402','2026-11-25 23:59:12.769935');
INSERT INTO "trials" VALUES(5,3,1,'FAIL','2026-11-25 23:59:12.897784','2026-11-25 23:59:13.146768');
INSERT INTO "trials" VALUES(6,4,1,'RUNNING','2026-11-25 23:59:13.287028',NULL);
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
