"""The gym's schema, told as numbered steps. The comment behind a column is its documentation; SQLite keeps it.

A step that has been released is never edited; a change is a new step. LangGraph's own tables (`checkpoints`, `writes`)
live in the same file and are made by its saver.
"""

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

migrations = Migrations("understudy")


@migrations()
def m001_events(db: Database) -> None:
    """Make the log: history, inbox and the source of all evidence."""
    _run(
        db,
        """
        CREATE TABLE events (
            id INTEGER PRIMARY KEY,          -- order of arrival over all conversations
            conversation_id TEXT NOT NULL,   -- as the host calls it
            seq INTEGER NOT NULL,            -- order within the conversation, from 0
            kind TEXT NOT NULL,              -- customer_message, agent_message, outcome, label
            turn INTEGER,                    -- newest customer message when it arrived (its own number if it is one)
            message_id TEXT,                 -- as the host calls it; a repeated one is ignored
            role TEXT,                       -- customer or agent, for messages
            text TEXT,                       -- the message
            action TEXT,                     -- what the agent did, as the host names it
            payload TEXT,                    -- JSON: state and customer of a message, the outcome, the labels
            profile TEXT NOT NULL,           -- the domain of the conversation
            at TEXT,                         -- when it happened, UTC ISO 8601; NULL if the recording does not say
            processed_at TEXT                -- when the shadow graph was done with it; NULL is the inbox
        )
        """,
        "CREATE UNIQUE INDEX events_seq ON events (conversation_id, seq)",
        "CREATE UNIQUE INDEX events_message ON events (conversation_id, message_id) WHERE message_id IS NOT NULL",
        "CREATE INDEX events_turn ON events (conversation_id, turn)",
        "CREATE INDEX events_first ON events (id) WHERE seq = 0",
        "CREATE INDEX events_inbox ON events (conversation_id, seq) WHERE processed_at IS NULL",
    )


@migrations()
def m002_decisions(db: Database) -> None:
    """Make the rows that say what the shadow saw, and the view that joins the conversation to them."""
    _run(
        db,
        """
        CREATE TABLE brain_decisions (
            decision_id TEXT PRIMARY KEY,        -- uuid5 of conversation and message: the same turn, the same id
            conversation_id TEXT NOT NULL,       -- as the host calls it
            turn INTEGER NOT NULL,               -- number of the customer message, from 0
            message_id TEXT NOT NULL,            -- of the customer message
            profile TEXT NOT NULL,               -- the domain whose labels were used
            created_at TEXT NOT NULL,            -- when the row was first written, UTC ISO 8601
            user_message TEXT NOT NULL,          -- what the customer said
            history_upto INTEGER NOT NULL,       -- events with a smaller seq are the history a module saw
            state_snapshot TEXT,                 -- JSON: what the host said it knew
            conflict_type TEXT,                  -- the conflict monitor's reading
            conflict_confidence REAL,            -- 0..1
            intent TEXT,                         -- the intent predictor's reading
            next_step TEXT,                      -- what it would do next
            intent_confidence REAL,              -- 0..1
            quality_score REAL,                  -- the quality evaluator's score of the handling, 0..1
            user_satisfaction_predicted REAL,    -- 0..1
            proposed_response TEXT,              -- what the shadow would have answered; never sent
            tone TEXT,                           -- of that answer
            response_confidence REAL,            -- 0..1
            readings TEXT NOT NULL,              -- JSON: module -> all output fields, version, model, tokens, ms
            faults TEXT NOT NULL,                -- JSON: step, kind, message of every module that could not answer
            versions TEXT NOT NULL,              -- JSON: module -> version
            models TEXT NOT NULL,                -- JSON: module -> model that answered
            tokens_in INTEGER NOT NULL,          -- all modules together
            tokens_out INTEGER NOT NULL,         -- all modules together
            latency_ms REAL NOT NULL,            -- from the first reader's start to the row
            engine TEXT NOT NULL,                -- embedded or ollama
            brain_mode TEXT NOT NULL,            -- shadow
            thread_id TEXT,                      -- LangGraph's thread: its checkpoint has the same
            run_id TEXT,                         -- and this run_id in its metadata
            response_sent TEXT,                  -- filled later: what the agent answered
            action_taken TEXT,                   -- filled later: what the agent did
            user_response TEXT,                  -- filled later: what the customer said next
            workflow_outcome TEXT,               -- filled later: success, failure, abandoned
            user_satisfaction REAL               -- filled later: 0..1
        )
        """,
        "CREATE UNIQUE INDEX brain_decisions_turn ON brain_decisions (conversation_id, turn)",
        "CREATE INDEX brain_decisions_created ON brain_decisions (created_at)",
        """
        CREATE VIEW decisions_full AS
        SELECT d.*,
            (SELECT json_group_array(json_object('role', role, 'text', text, 'action', action))
             FROM (SELECT role, text, action FROM events e
                   WHERE e.conversation_id = d.conversation_id AND e.seq < d.history_upto AND role IS NOT NULL
                   ORDER BY seq)) AS conversation_history  -- JSON: the messages before this turn
        FROM brain_decisions d
        """,
    )


@migrations()
def m003_evidence(db: Database) -> None:
    """Make the table of what turned out to be true; rows are only ever added."""
    _run(
        db,
        """
        CREATE TABLE evidence (
            id INTEGER PRIMARY KEY,
            event_id INTEGER NOT NULL,           -- the event it was drawn from
            conversation_id TEXT NOT NULL,       -- as the host calls it
            turn INTEGER NOT NULL,               -- the turn it is true of
            field TEXT NOT NULL,                 -- an output field of a module
            value TEXT NOT NULL,                 -- JSON
            source TEXT NOT NULL,                -- human, outcome, hindsight, teacher
            author TEXT,                         -- who said so
            at TEXT NOT NULL                     -- when, UTC ISO 8601
        )
        """,
        "CREATE UNIQUE INDEX evidence_key ON evidence (conversation_id, turn, field, event_id)",
        """
        CREATE TABLE evidence_sets (             -- kept by the triggers below, so that counting costs nothing
            fields TEXT PRIMARY KEY,             -- a set of output fields, sorted, with commas
            turns INTEGER NOT NULL               -- how many turns have evidence for exactly these
        )
        """,
        _count_sets("counted_in", "INSERT", "NEW", "-", "+"),
        _count_sets("counted_out", "DELETE", "OLD", "+", "-"),
    )


@migrations()
def m004_answers(db: Database) -> None:
    """Count what became of every answer, and find the turns that lack one."""
    row = "(SELECT {0}.readings AS readings, {0}.faults AS faults, {0}.versions AS versions)"
    new, old = _count_answers(row.format("NEW"), "+"), _count_answers(row.format("OLD"), "-")
    _run(
        db,
        """
        CREATE TABLE answer_counts (             -- kept by the triggers below, so that counting costs nothing
            module TEXT NOT NULL,
            version TEXT NOT NULL,               -- of the module
            kind TEXT NOT NULL,                  -- answered; what an answer needed; the kind of a fault
            turns INTEGER NOT NULL,
            PRIMARY KEY (module, version, kind)
        ) WITHOUT ROWID
        """,
        _count_answers("brain_decisions", "+"),
        "CREATE INDEX brain_decisions_faults ON brain_decisions (turn) WHERE faults <> '[]'",
        f"CREATE TRIGGER answers_in AFTER INSERT ON brain_decisions BEGIN {new}; END",
        f"CREATE TRIGGER answers_out AFTER DELETE ON brain_decisions BEGIN {old}; END",
        f"CREATE TRIGGER answers_again AFTER UPDATE OF readings, faults ON brain_decisions BEGIN {old}; {new}; END",
    )


def _count_answers(decisions: str, sign: str) -> str:
    """Return the statement that counts the answers of some decisions in or out."""
    return f"""
        INSERT INTO answer_counts
        SELECT module, version, kind, {sign}count(*) FROM (
            SELECT r.key AS module, json_extract(r.value, '$.version') AS version, 'answered' AS kind
            FROM {decisions} d, json_each(d.readings) r
            UNION ALL
            SELECT r.key, json_extract(r.value, '$.version'), k.value
            FROM {decisions} d, json_each(d.readings) r, json_each(r.value, '$.repairs') k
            UNION ALL
            SELECT v.key, v.value, json_extract(f.value, '$.kind')
            FROM {decisions} d, json_each(d.faults) f, json_each(d.versions) v
            WHERE v.key = json_extract(f.value, '$.step')
        )
        WHERE true GROUP BY module, version, kind
        ON CONFLICT (module, version, kind) DO UPDATE SET turns = turns + excluded.turns
    """


def _count_sets(name: str, event: str, row: str, without: str, including: str) -> str:
    """Return the trigger that moves a turn from one set of fields to another when a field gains or loses evidence."""
    turn = f"conversation_id = {row}.conversation_id AND turn = {row}.turn"
    rest = f"SELECT DISTINCT field FROM evidence WHERE {turn} AND field <> {row}.field"

    def move(fields: str, sign: str) -> str:
        joined = f"SELECT group_concat(field) FROM (SELECT field FROM ({fields}) ORDER BY field)"
        return (
            f"INSERT INTO evidence_sets SELECT fields, {sign}1 FROM (SELECT ({joined}) AS fields)"
            f" WHERE fields IS NOT NULL ON CONFLICT (fields) DO UPDATE SET turns = turns {sign} 1;"
        )

    return (
        f"CREATE TRIGGER evidence_{name} AFTER {event} ON evidence WHEN NOT EXISTS (SELECT 1 FROM evidence"
        f" WHERE {turn} AND field = {row}.field AND id <> {row}.id)"
        f" BEGIN {move(rest, without)} {move(f'{rest} UNION SELECT {row}.field', including)} END"
    )


@migrations()
def m005_sides(db: Database) -> None:
    """Make the tables of the sides on which conversations stand for ever, and what finds a dataset's rows fast."""
    _run(
        db,
        """
        CREATE TABLE conversation_sides (
            id INTEGER PRIMARY KEY,                -- order in which they were first seen closed
            conversation_id TEXT NOT NULL UNIQUE,  -- as the host calls it
            cluster TEXT NOT NULL,                 -- near-copies have the same: a hash of the first one's sketch
            side TEXT NOT NULL,                    -- train, validation or sealed, for ever
            sketch BLOB NOT NULL,                  -- MinHash of its messages; no text can be read from it
            at TEXT NOT NULL                       -- when it was put there, UTC ISO 8601
        )
        """,
        """
        CREATE TABLE conversation_bands (
            band INTEGER NOT NULL,                 -- hash of a piece of a sketch; near-copies share some
            side_id INTEGER NOT NULL,              -- the row of conversation_sides that has it
            PRIMARY KEY (band, side_id)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX brain_decisions_profile ON brain_decisions (profile)",
        "CREATE INDEX events_outcome ON events (conversation_id) WHERE kind = 'outcome'",
        "CREATE INDEX evidence_human ON evidence (field, id) WHERE source = 'human'",
    )


@migrations()
def m006_optimization_runs(db: Database) -> None:
    """Make the table of optimisations."""
    _run(
        db,
        """
        CREATE TABLE optimization_runs (
            run_id TEXT PRIMARY KEY,             -- LangGraph's thread has the same
            profile TEXT NOT NULL,               -- whose decisions it learnt from
            started_at TEXT NOT NULL,            -- UTC ISO 8601
            ended_at TEXT,                       -- NULL while it runs, or was killed
            status TEXT NOT NULL,                -- running, success, skipped, error
            decisions_processed INTEGER NOT NULL,
            report TEXT NOT NULL                 -- JSON: what became of every module, and why
        )
        """,
        "CREATE INDEX optimization_runs_profile ON optimization_runs (profile, started_at)",
    )


@migrations()
def m007_ab_tests(db: Database) -> None:
    """Make the tables of the tests in which two versions answer side by side."""
    _run(
        db,
        """
        CREATE TABLE ab_tests (
            name TEXT PRIMARY KEY,
            profile TEXT NOT NULL,               -- whose conversations count
            module TEXT,                         -- which module; NULL if the caller brings the programs
            variant_a TEXT NOT NULL,             -- a version; the older one, or the one in use
            variant_b TEXT NOT NULL,             -- the one that wants to be better
            origin TEXT NOT NULL,                -- who began it: candidate, published, hand
            started_at TEXT NOT NULL,            -- UTC ISO 8601
            most INTEGER NOT NULL,               -- conversations after which it ends without a verdict
            betting TEXT NOT NULL,               -- JSON: what the statistics need to go on
            ended_at TEXT,                       -- NULL while it runs
            verdict TEXT,                        -- A, B, equivalent; NULL without one
            reason TEXT,                         -- why it ended
            consequence TEXT                     -- what followed from it; NULL until it has been carried out
        )
        """,
        "CREATE UNIQUE INDEX ab_tests_running ON ab_tests (profile, module) WHERE ended_at IS NULL",
        "CREATE INDEX ab_tests_unsettled ON ab_tests (name) WHERE consequence IS NULL",
        """
        CREATE TABLE ab_conversations (          -- a conversation enters a test once, when it is closed
            test TEXT NOT NULL,
            conversation_id TEXT NOT NULL,       -- as the host calls it
            state TEXT NOT NULL,                 -- open, unscored (closed without evidence), entered, left_out
            place INTEGER,                       -- order in which it entered, from 1
            score_a REAL,                        -- mean over its turns with evidence, 0..1
            score_b REAL,
            turns INTEGER,                       -- how many of them
            evidence_upto INTEGER,               -- newest row of evidence when it entered, or was last looked at
            late INTEGER NOT NULL DEFAULT 0,     -- turns of which more was learnt afterwards
            reason TEXT,                         -- why it is left out
            PRIMARY KEY (test, conversation_id)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE ab_asked (                  -- turns that are being answered now
            conversation_id TEXT NOT NULL,       -- as the host calls it
            turn INTEGER NOT NULL,
            pid INTEGER NOT NULL,                -- of the process that answers it
            at TEXT NOT NULL,                    -- since when, UTC ISO 8601
            PRIMARY KEY (conversation_id, turn)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX ab_conversations_of ON ab_conversations (conversation_id)",
        "CREATE INDEX ab_conversations_open ON ab_conversations (conversation_id) WHERE state IN ('open', 'unscored')",
        "CREATE UNIQUE INDEX ab_conversations_place ON ab_conversations (test, place) WHERE place IS NOT NULL",
        """
        CREATE TABLE ab_results (
            test TEXT NOT NULL,
            conversation_id TEXT NOT NULL,       -- as the host calls it
            turn INTEGER NOT NULL,               -- number of the customer message, from 0
            first TEXT NOT NULL,                 -- which variant was asked first, A or B
            answer_a TEXT,                       -- JSON: output fields; NULL if it failed
            answer_b TEXT,
            fault_a TEXT,                        -- kind and message of the failure
            fault_b TEXT,
            ms_a REAL NOT NULL,                  -- time of the answer, milliseconds
            ms_b REAL NOT NULL,
            tokens_a INTEGER NOT NULL,           -- read and written
            tokens_b INTEGER NOT NULL,
            score_a REAL,                        -- 0..1 by the evidence there was when the conversation entered
            score_b REAL,
            at TEXT NOT NULL,                    -- when it was answered, UTC ISO 8601
            PRIMARY KEY (test, conversation_id, turn)
        ) WITHOUT ROWID
        """,
    )


@migrations()
def m008_suggestions(db: Database) -> None:
    """Make the table of what a personal touch would have changed."""
    _run(
        db,
        """
        CREATE TABLE personalization_suggestions (
            id INTEGER PRIMARY KEY,
            conversation_id TEXT NOT NULL,       -- as the host calls it
            turn INTEGER,                        -- newest customer message before the reply; NULL before the first
            message_id TEXT NOT NULL,            -- of the reply
            profile TEXT NOT NULL,
            original_message TEXT NOT NULL,      -- what production sent
            personalized_message TEXT,           -- what would have been sent; NULL if there was no answer
            modifications TEXT NOT NULL,         -- JSON: what was changed, of a closed list
            confidence REAL,                     -- 0..1
            reasoning TEXT,
            status TEXT NOT NULL,                -- accepted, unchanged, rejected (it lost or made up something), fault
            reason TEXT,                         -- why it was rejected, or what failed
            version TEXT NOT NULL,               -- of the program that said it
            model TEXT NOT NULL,
            tokens INTEGER NOT NULL,             -- read and written
            ms REAL NOT NULL,                    -- time of the answer, milliseconds
            at TEXT NOT NULL,                    -- UTC ISO 8601
            was_better INTEGER,                  -- a reviewer's word: 1, 0, or NULL as long as nobody has looked
            reviewer TEXT
        )
        """,
        "CREATE UNIQUE INDEX suggestions_message ON personalization_suggestions (conversation_id, message_id)",
        "CREATE INDEX suggestions_turn ON personalization_suggestions (conversation_id, turn)",
    )


@migrations()
def m009_dreams(db: Database) -> None:
    """Make the tables of invented conversations, and of the cycles that made them."""
    _run(
        db,
        """
        CREATE TABLE dreams (
            id INTEGER PRIMARY KEY,
            dream_id TEXT NOT NULL UNIQUE,       -- of the cycle and the dream's place in it
            profile TEXT NOT NULL,
            cycle TEXT NOT NULL,                 -- LangGraph's thread has the same
            kind TEXT NOT NULL,                  -- replay (a real conversation retold) or invented
            parents TEXT NOT NULL,               -- JSON: the real conversation it tells anew
            lenders TEXT NOT NULL,               -- JSON: real conversations whose phrases or steps it was shown
            intent TEXT NOT NULL,                -- what the customer wants in it
            conversation TEXT NOT NULL,          -- JSON: the dream with its labels, as `understudy replay` reads one
            model TEXT NOT NULL,                 -- which dreamt it
            prompt_hash TEXT NOT NULL,           -- SHA-256 of what the model was asked, without the inputs
            sketch BLOB NOT NULL,                -- MinHash of its messages
            at TEXT NOT NULL                     -- UTC ISO 8601
        )
        """,
        "CREATE INDEX dreams_profile ON dreams (profile, id)",
        """
        CREATE TABLE dream_cycles (
            cycle TEXT PRIMARY KEY,
            profile TEXT NOT NULL,
            started_at TEXT NOT NULL,            -- UTC ISO 8601
            ended_at TEXT,                       -- NULL while it runs, or was killed
            status TEXT NOT NULL,                -- running, success, skipped, error
            report TEXT NOT NULL                 -- JSON: how many were kept, and why others were not
        )
        """,
        "CREATE INDEX dream_cycles_profile ON dream_cycles (profile, started_at)",
    )


@migrations()
def m010_jobs(db: Database) -> None:
    """Make the tables of what runs by itself: who may start it, when it ran, and what it counts by."""
    _run(
        db,
        """
        CREATE TABLE lease (
            name TEXT PRIMARY KEY,               -- scheduler, inbox: one process at a time may be either
            owner TEXT NOT NULL,                 -- the process, by a name of its own (a UUID)
            what TEXT NOT NULL,                  -- JSON, for people: pid, host, command
            boot TEXT NOT NULL,                  -- the start of the machine that the seconds below count from
            taken_at TEXT NOT NULL,              -- when the owner took it, UTC ISO 8601, for people
            renewed REAL NOT NULL,               -- seconds on the clock that nobody sets (time.monotonic)
            expires REAL NOT NULL                -- from then on anybody may take it
        )
        """,
        """
        CREATE TABLE jobs (
            name TEXT NOT NULL,                  -- optimize, dream
            profile TEXT NOT NULL,               -- whose conversations it works on
            mark INTEGER NOT NULL,               -- decisions of the profile that have been counted for a run
            run_id TEXT,                         -- the run that has begun and not ended; NULL between runs
            started_at TEXT,                     -- when the newest run was first started, UTC ISO 8601
            ended_at TEXT,                       -- when the newest one that ended was over
            status TEXT,                         -- what became of that one: success, skipped, error
            reason TEXT,                         -- why
            hindrance TEXT,                      -- why it does not start or does not end now; NULL if nothing hinders
            next_at TEXT,                        -- when a run that was put off is tried again, UTC ISO 8601
            since_at TEXT NOT NULL,              -- when the interval to the next run began, UTC ISO 8601
            since_boot TEXT NOT NULL,            -- the same on the clock that nobody sets: the start of the machine
            since_monotonic REAL NOT NULL,       -- and the seconds since then (may be negative)
            PRIMARY KEY (name, profile)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE decision_counts (           -- kept by the trigger below, so that counting costs nothing
            profile TEXT PRIMARY KEY,
            written INTEGER NOT NULL             -- decisions ever written; erasing one does not lower it
        ) WITHOUT ROWID
        """,
        "INSERT INTO decision_counts SELECT profile, count(*) FROM brain_decisions GROUP BY profile",
        "CREATE TRIGGER decisions_counted AFTER INSERT ON brain_decisions BEGIN"
        " INSERT INTO decision_counts VALUES (NEW.profile, 1)"
        " ON CONFLICT (profile) DO UPDATE SET written = written + 1; END",
    )


@migrations()
def m011_erased(db: Database) -> None:
    """Let nothing more be written of a conversation that was erased while somebody was still at work on it."""
    unknown = "NOT EXISTS (SELECT 1 FROM events WHERE conversation_id = {})"
    of_a_module = "EXISTS (SELECT 1 FROM ab_tests WHERE name = NEW.test AND module IS NOT NULL)"
    sources = ("parents", "lenders")
    lost = " OR ".join(f"EXISTS (SELECT 1 FROM json_each(NEW.{s}) WHERE {unknown.format('value')})" for s in sources)
    plain = ("brain_decisions", "evidence", "personalization_suggestions", "conversation_sides", "ab_asked")
    conditions = {name: unknown.format("NEW.conversation_id") for name in plain}
    # Whoever compares programs of his own brings conversations of his own.
    for name in ("ab_conversations", "ab_results"):
        conditions[name] = f"{unknown.format('NEW.conversation_id')} AND {of_a_module}"
    _run(
        db,
        """
        CREATE TABLE erased_rows (               -- so that a number that was erased is not given again
            name TEXT PRIMARY KEY,               -- a table
            newest INTEGER NOT NULL              -- highest id that it had when something was erased
        ) WITHOUT ROWID
        """,
    )
    for name, condition in {**conditions, "dreams": lost}.items():
        _run(
            db,
            f"CREATE TRIGGER {name}_of_erased BEFORE INSERT ON {name} WHEN {condition} BEGIN SELECT RAISE(IGNORE); END",
        )


@migrations()
def m012_losses(db: Database) -> None:
    """Make the table of what hosts' calls could not write; it names no conversation."""
    _run(
        db,
        """
        CREATE TABLE losses (
            reason TEXT PRIMARY KEY,             -- as `understudy.losing` names it: locked, full, refused, ...
            calls INTEGER NOT NULL,              -- how many calls wrote nothing for that reason
            first_at TEXT NOT NULL,              -- UTC ISO 8601
            last_at TEXT NOT NULL                -- UTC ISO 8601
        ) WITHOUT ROWID
        """,
    )


@migrations()
def m013_readiness(db: Database) -> None:
    """Find the newest evidence of a field that readiness is judged by."""
    _run(db, "CREATE INDEX evidence_known ON evidence (field, id) WHERE source <> 'teacher'")


@migrations()
def m014_browsing(db: Database) -> None:
    """Make the indexes that find decisions and conversations, newest first, whatever is asked of them.

    Those on what is newest hold every column that is filtered by: what matches nothing is told from the index alone.
    """
    _run(
        db,
        "CREATE INDEX brain_decisions_newest ON brain_decisions"
        " (created_at, decision_id, profile, conversation_id, turn, intent, conflict_type, versions)",
        "CREATE INDEX brain_decisions_outcome ON brain_decisions (conversation_id, workflow_outcome) WHERE turn = 0",
        "DROP INDEX brain_decisions_faults",
        "CREATE INDEX brain_decisions_faults ON brain_decisions (conversation_id) WHERE faults <> '[]'",
        "DROP INDEX events_first",
        "CREATE INDEX events_first ON events (id, conversation_id, profile) WHERE seq = 0",
        "CREATE INDEX evidence_labelled ON evidence (conversation_id, turn) WHERE source = 'human'",
    )


def _run(db: Database, *statements: str) -> None:
    for statement in statements:
        db.execute(statement)
