/*
 * Everything that the loop knows, as data: constants, what lives for a while, the world, and the engine that holds all of it.
 *
 * Python shares `Head`, `Link`, `Source`, `Generators`, `Template`, `Provider`, `Transaction`, `Gauge`, `Figures` and `Calls` (simtx/engine/layout.py, in the same order).
 */

#define EXPORT __attribute__((visibility("default")))

enum { TIMERS = 8, STEPS = 64, SHAPES = 256, STREAMS = 1024, NODES = 32, QUANTITIES = 16, OUTGOING = 4 };
enum { CLIENT = NODES - 1, BROKER = NODES - 2, VOTES = NODES - 3 }; /* as ends of links */
enum { REQUESTS = 256, ALL_VOTES = 8 }; /* what machines ask the vote store for; votes, from 1 on */
/* Ids of deliveries that a machine may hold at once; what it works on has one more, that of its event. */
enum { IDS = 8, NEW_ID = IDS };
/* Kinds of tokens that are no machine's timers. */
enum { PUBLISH_TIMEOUT = -1, REDELIVERY = -2 };

/* Why `run` returns. */
enum { STOPPED = 0, PYTHON = 1, FAILED = 2, LOOK = 3 };
enum { LOOK_EVERY = 1 << 16 }; /* events after which Python may look at signals */

enum { NO_MEMORY = 13 }; /* the `error` that is the user's to mend */

/* Priorities. */
enum { URGENT = 0, NORMAL = 1 };

/* What happens at an entry of the heap. */
enum {
  STOP, MESSAGE, FLUSHED, BATCH, SERVED, GIVE_UP, LANE, RING, ARRIVE, AT_THE_NODE, ASK_AGAIN, SILENCE, NO_ANSWER, ANSWER_ARRIVES, LOSE_PATIENCE, LEAVE,
  AT_THE_BROKER, STORE, CONFIRM, TURN_AWAY, DELIVER, ACKNOWLEDGED, WAKE, HOST_DONE, WORKED,
  AT_THE_VOTES, VOTE_ARRIVES, PROVIDED
};
/* Beside MESSAGE, SERVED, WORKED, RING, AT_THE_NODE, LEAVE, CONFIRM, DELIVER and PROVIDED, what may wait until a pause is over. */
enum { RESUME = 64, TELL, SENT };
/* Beside most of these, what a process on a host does when it has had the time for it. */
enum { FORCE_WRITE = 80, CALL, TAKEN, PASS_ON, START, ASIDE };

/* Effects. */
enum {
  DO_SEND, DO_APPEND, DO_SET_TIMER, DO_CANCEL_TIMER, DO_WORK, DO_FORGET, DO_COMMIT, DO_ROLLBACK, DO_ANSWER, DO_DECIDED, DO_SUSPECT, DO_ALERT, DO_PUBLISH,
  DO_ACKNOWLEDGE, DO_READ, DO_MARK, DO_TELL, DO_LOG
};

/* Phases of a running machine, and what a local transaction is. */
enum { IDLE, BUSY, SUBMITTING, WAITING };
enum { TRANSACT, EXECUTE, PREPARE };
enum { ADD, SET, READ, REFUSE };
enum { DONE, REFUSED, DUPLICATE, FAILURE };
enum { UNDECIDED, COMMITTED, ABORTED };
enum { PARALLEL, SERIAL, GROUP };
enum { HARDENED, DURABLE, FINALISED, VOTED, NOTED };
enum { OUT_OPEN, OUT_COMMITTED, OUT_ABORTED, OUT_COMPENSATED, OUT_STUCK, OUT_IN_FLIGHT, OUT_INCOMPLETE, OUT_LOST };
enum { BY_TIMEOUT, BY_DETECTION, BY_AGE };

static const double TOLERANCE = 1e-9;
static const int64_t LATE = (int64_t)1 << 32;

typedef struct Engine Engine;
typedef struct RunningMachine RunningMachine;
typedef struct Work Work;

typedef struct { double time; uint64_t key; void *thing; int64_t number; } Entry; /* key: priority, order of scheduling, kind */
typedef struct { int32_t op, a, b, c; uint32_t aimed; } Effect; /* aimed: which aimed crashes may mean it, one bit each */
typedef struct { int32_t state, start, end, ids; int64_t taken; int32_t id[IDS]; } Transition; /* ids: how many are held then; id: where each comes from */

/* --- random numbers: simtx.workload.by_transaction ------------------------------------------------------------------------------------------ */

enum { FRONT = 3, NEIGHBOURS = 8, SUCCESSIVE = 5, WINDOWS = 32, TOGETHER = 4, RESTS = 64 };

/* The k-th numbers of neighbours: by window which one is there, and the numbers of a few windows, one behind the other. */
typedef struct { int64_t tag[WINDOWS]; double *numbers[WINDOWS / TOGETHER]; } Front;
typedef struct { int64_t tx, place; double *numbers; } Rest;
/* How C makes the numbers of a stream itself, with functions of NumPy: `Recipe` in Python, and the key of its generator. */
enum { ASKED, UNIFORM, EXPONENTIAL, OF_NORMAL, RAWS }; /* ASKED: it does not, and asks Python */
typedef struct { uint64_t key[2]; double factor, median, shift; int32_t raw, shifted; } Source;
typedef struct {
  void *bits; /* a generator that belongs to this engine */
  void (*write[RAWS])(void *bits, intptr_t count, double *numbers);
  void (*exponential)(char **arrays, const intptr_t *count, const intptr_t *steps, void *data);
  void *data;
} Generators;
typedef struct {
  int constant; double value; Front *front; Rest *rest;
  int32_t cells, own, exact; /* cells: 0, unless it follows the common factor: simtx.simulator.common_mode */
  double share, rest_share, *quantile, *threshold;
  double shared_flush, within; /* of forced writes: what probability to end with another node's, if that began so shortly before */
  Source source;
} Stream;
typedef struct Counts { int64_t tx, base; int32_t at, room; struct Counts *next; uint16_t *taken; } Counts; /* taken: of how many streams there is room for */

/* --- what is counted: simtx.metrics.ledger, stations ------------------------------------------------------------------------------------------ */

typedef struct {
  double arrival, last_activity, answered, decided, first_effect, last_effect, lock_wait, lock_hold, in_doubt;
  Counts *counts;
  int32_t messages, broker_messages, forced, lazy, retries, prepared, done, actors, duplicates, missing;
  uint32_t durable;   /* nodes that hold records of it */
  uint32_t forgotten; /* nodes that have crashed since they had begun it, and hold none */
  uint8_t decision, answer, outcome, partial, refused, stuck, open, light, young, closed, measured, shape, asking, served, watch, resting;
} Transaction;

typedef struct { double last, net, gross, net_integral, gross_integral, violated, peak; } Gauge;
typedef struct { int64_t arrivals, departures, present; double stayed, entries, exits; } Station;

/* --- the world ------------------------------------------------------------------------------------------------------------------------------ */

/* Of the rows of a node: those that are locked, and those that are waited for, in the order in which that began. */
enum { LOCKED, WAITED, CHAINS };

typedef struct Key { /* what every local transaction looks at comes first: a run may have millions */
  double value, expected, late; /* late: what was changed of it for transactions that were closed */
  double *weight; /* `weights` times one factor for each conserved quantity */
  Work *owner, *head, *tail; /* who waits for it, in order */
  int32_t node, weights;
  uint8_t has_value, has_expected;
  struct { int32_t before, next; } in[CHAINS];
  double replica, first;
  char *name;
} Key;

typedef struct { int32_t kind, key, amount; int32_t has_low, has_high; double low, high; } Operation;

/* A local transaction as a machine asks for it: the same for all business transactions. */
typedef struct {
  int32_t type, node, key, undoes, undone_if, accepted, refused, has_refused, compensation;
  int32_t operations, count, steps, step[STEPS], record, serial; /* serial: it locks the outbox if it has rows for it (2), or would (1) */
  int32_t accepted_rows, refused_rows, accepted_row[OUTGOING], refused_row[OUTGOING]; /* messages for the outbox */
  int32_t on_done, on_refused, on_failed, on_duplicate[64];
} Template;

typedef struct Flush {
  int32_t what, node, epoch, forced_rollback, record;
  double start, in_doubt;
  int64_t tx;
  RunningMachine *actor;
  uint32_t gen;
  Work *work;
  struct ProviderCall *asked;
  struct Flush *next;
} Flush;

struct Work {
  RunningMachine *actor;
  uint32_t gen;
  int32_t template, node, refs, epoch, status, forced, row, tombstone, no_operations, ended, refusing; /* refusing: whatever the data, as the client has given up or a provider has refused */
  int64_t tx;
  uint64_t steps;
  double since, demand, inside, locked_from, wait_since, prepared_since;
  Work *prior, *later; /* prepared branches, in order */
  Work *next, *queued; /* in the pool's queue, in the queue of a lock */
  Work *begun_before, *begun_next; /* under way, in the order in which they began; only where a relay reads below the horizon */
  int64_t ticket; /* the next row's number when it began */
  int32_t begun;
  int32_t waits_for;
  int64_t number; /* of its first outbox row; -1: it is numbered when it commits */
  uint32_t seen, scanned;
  int32_t changes, keys;
  int32_t *changed, *locked;
  double *values;
};

/* What a timer's time still lacks: the k-th number of a transaction in a stream, times a width, times the factor of the node's clock. */
typedef struct { double width, factor; int64_t tx, k; int32_t stream; } Jitter;
/* lane: where it stands; NULL: the heap, or something that waits, knows it. */
typedef struct Token { void *owner; int32_t kind; double due, seen; struct Token *before, *next; struct Lane *lane; Jitter jitter; } Token;
typedef struct Lane { double delay; Token *head, *tail; int armed; } Lane;
typedef struct Mail { int32_t event; int64_t id; struct Mail *next; } Mail;

struct RunningMachine {
  int64_t tx;
  int32_t node, state, start, pc, end, done, timers; /* start, pc, end: of its program */
  uint32_t gen;
  uint8_t undated; /* what it works on has no deadline of the client any more: an event of the broker has none */
  uint8_t phase, alive, is_relay, lazy, turns, turned; /* turns: what it sends waits for its process; turned: that has had the time for the next */
  int64_t id[IDS], was[IDS + 1]; /* ids of deliveries that it holds; those before its event, and the event's */
  Mail *head, *tail;
  Token *timer[TIMERS];
  Work *work;
  RunningMachine *next;
};

/* A record in a log: which one, and since when it may be in memory only, if it is lazy. */
typedef struct Record { int32_t what, lazy; double since; struct Record *next; } Record;
/* Records that are garbage, unless a crash loses the word of it; lazy rollbacks, which a crash may undo. */
typedef struct Ending { int64_t tx; double since; Record *records; struct Ending *next; } Ending;
typedef struct Rolled { double since; Work *branch; struct Rolled *next; } Rolled;

/* What a node has of a transaction. */
typedef struct Place {
  int64_t tx;
  int32_t node, asked; /* asked: requests that a provider has not worked off */
  RunningMachine *actor;
  Work *prepared, *open;
  struct Record *records, *last_record; /* what its log holds of the transaction */
  struct Row *flying; /* the relay: the row on its way, and those behind it */
  struct Parcel *head, *tail; /* the broker: what waits for this consumer, in order */
  struct InLine *line; /* the vote store: requests that wait for a vote to be written, in order */
} Place;

/* A row of an outbox that is visible and not marked; writer: the first row of its local transaction; courier: the state of its courier, if it has one. */
enum { NOBODY = -1 };
typedef struct Row { int64_t number, writer, tx; int32_t event, courier; double marked; struct Row *before, *next, *behind; } Row;

/* The relay of a node: its poller is a running machine, its couriers are `known` rows. Events that it causes itself; what its poller has asked for. */
typedef struct Held { int64_t tx; struct Held *next; } Held;
typedef struct { Effect effect; int64_t tx; Row *row; } Listed;
typedef struct {
  RunningMachine *actor;
  int32_t known, ordered, followed;
  int32_t wake, go, idle, full, part;
  int32_t reading, limit, below_horizon;
  Listed *listed; /* what its parts have asked for at one event, and where it is being played */
  int32_t count, room, at;
  int64_t writer, number; /* place of the last row that was read, in the order of its reader */
  Held *held, *last; /* whose first courier waits for the poller's word */
} Relay;

typedef struct Publication {
  RunningMachine *actor;
  uint32_t gen;
  int32_t node, event, on_done, on_failed, refs, open, epoch;
  int64_t tx;
  Token *timeout;
  struct Publication *next;
} Publication;

typedef struct Parcel {
  int64_t id, tx, lane; /* lane: in which order lanes were begun */
  int32_t event, node, sent;
  double stored;
  Token *timer;
  struct Parcel *next, *behind; /* in its bucket; in its lane */
} Parcel;

/* A request to the vote store, of a machine that may be gone when it is answered; written: its vote was the first of its row. And its place in a line. */
typedef struct Ballot {
  RunningMachine *actor;
  uint32_t gen;
  int32_t node, epoch, request, vote, voter, written, refs;
  int64_t tx;
  struct Ballot *next;
} Ballot;
typedef struct InLine { Ballot *ballot; struct InLine *next; } InLine;

typedef struct Seen { int64_t tx; int32_t event, kept; double since; struct Seen *next, *behind; } Seen;

/* A change on its way to a read replica: simtx.simulator.replica. */
typedef struct Shipped { double visible, value; int32_t key; struct Shipped *next; } Shipped;

/* A crash that is aimed at an effect of a transaction: simtx.simulator.faults.CrashPoint. */
enum { AIMS = 16 };
typedef struct { int32_t number, pattern, before, remaining; int64_t tx; } Aim; /* pattern: which bit of `Effect.aimed` */

/* What came in while a node was paused. */
typedef struct Waiting { int32_t kind, event; uint32_t gen; int64_t tx, number; void *thing; struct Waiting *next; } Waiting;

/* simtx.simulator.host: what a process has to do, a process, and the cores that it shares. */
typedef struct Job {
  double demand, size, aside; /* processor time that it still takes, and in all, and that others take when it is done */
  int32_t over;
  Waiting what;
  struct Process *process;
  struct Job *next, *on_host, *after; /* of its process, on its host, in what is over now */
} Job;
typedef struct { double speed, quantum, moment; int64_t version; int32_t cores, neighbours, count; Job *first, *last, *next; } Host;
typedef struct Process {
  Host *host;
  int32_t width, running, halted, keeps;
  double event, effect, transaction, forced_write, event_aside, transaction_aside, forced_write_aside, mark_aside, restart, busy_time, busy_since, sliced;
  double left; /* of its restart */
  Job *first, *last, *first_waiting, *last_waiting;
} Process;

/* simtx.protocols.breaker: what a caller thinks of another node. */
enum { SHUT, OPEN, HALF_OPEN }; /* SHUT: calls go through */
typedef struct { int32_t state, failures; double since; } Breaker;

typedef struct {
  int32_t workers, free, limit, epoch, waiting_count; double since, busy_time, factor, work;
  Work *head, *tail;
  Station waiting, served;
} Pool;

typedef struct {
  int32_t stream, flush, instant, busy, stalled, epoch; double busy_time, durable_until; int64_t flushes;
  Flush *head, *tail;
} Disk;

/* simtx.simulator.provider: a provider outside, what it knows of a request, and a request with what is to happen to it next. */
enum { DONES, REFUSALS, UNKNOWNS, LIMITED, QUERIES, COUNTS }; /* requests by how they have ended, and questions about them */
enum { PENDING = 1, SAID_DONE, SAID_REFUSED };
enum { AGAIN, PERFORM, ANSWERED, SILENT, FAIL, TOLD, NOTE, ADOPT };
typedef struct {
  double silent, timeouts_done, timeout, factor, rate, burst, retry_after, idempotency, tokens, refilled;
  int64_t counts[COUNTS];
  int32_t exists, up, latency, chance, status_query, limited, remembers, unused; /* latency, chance: streams */
} Provider;
typedef struct Known { int64_t tx; int32_t key, answer, template, noted; double since; struct Known *next; } Known; /* template: whose rows go with the answer */
typedef struct ProviderCall {
  Work *work; /* what waits for it; NULL: nothing */
  int64_t tx;
  double since, back;
  int32_t step, node, template, about, answer, branch;
  struct ProviderCall *next;
} ProviderCall;

typedef struct {
  int32_t initial, jitter, has_store, serializable, prepared, open, owners; uint32_t generation;
  double lock_timeout, retention, rotate_at, locks_held, timer_factor;
  int64_t locks_taken, lock_queue;
  Pool pool;
  Disk disk;
  Station lock_waits;
  int32_t link[NODES + 1];
  int32_t expired, at_commit, works_inside, rows, held, keeps_horizon, outbox_lock, up, paused, outage;
  struct { int32_t first, last; } chain[CHAINS];
  double lazy_flush;
  Work *first_prepared, *last_prepared;
  Ending *first_ending, *last_ending;
  Rolled *first_rolled, *last_rolled;
  Row *first_mark, *last_mark;
  int64_t next_row;
  Row *first_row, *last_row;
  Work *first_begun, *last_begun; /* under way, if its relay keeps a horizon */
  Relay relay;
  Breaker breaker[NODES]; /* by the other node */
  int32_t lag; /* stream of the delay of its read replica; 0: it has none */
  Shipped *first_shipped, *last_shipped;
  int64_t replica_reads, stale_reads;
  Waiting *first_waiting, *last_waiting; /* for the end of a pause */
  Aim aim[AIMS];
  int32_t aims;
  Work *first_stalled, *last_stalled; /* for the end of an outage of the store */
  Provider provider;
} Node;

typedef struct {
  int32_t draw, plain, reorders, duplicates, loses, blocked;
  double reorder, duplication, loss; /* chances to be spared */
  int32_t reorder_stream, duplication_stream, loss_stream, delay_stream, copy_latency_stream, copy_delay_stream;
} Link;

typedef struct Call { int64_t tx; int32_t attempt, entry, asked_at; struct Call *next; } Call;

/* A page of plans: 1,024 transactions. Python makes up to so many pages at once, if it knows that they will come. */
enum { PAGE = 1024, AHEAD = 16 };
typedef struct { double *amounts; int32_t *keys; uint8_t *shapes; } Page;

typedef struct {
  int32_t (*learn)(int32_t state, int32_t event);
  int32_t (*duplicate)(int32_t template, int32_t value);
  int32_t (*fill)(int32_t stream, int64_t major, int64_t minor, int32_t size, int32_t blocks, double *numbers);
  int32_t (*plan)(int64_t page);
  int32_t (*arrivals)(double *times, int32_t count);
  int32_t (*ended)(void);
  int32_t (*link)(int32_t source, int32_t destination);
  int32_t (*delivery)(int32_t message, int32_t id);
  int32_t (*courier)(int32_t node, int32_t message);
  int32_t (*recover)(int32_t node, int32_t count, const int32_t *records);
  int32_t (*replay)(int64_t tx, int32_t transition, int32_t state, int32_t event);
  int32_t (*strike)(int32_t aim);
  int32_t (*vote)(int32_t request, int32_t vote);
  int32_t (*started)(int32_t node);
} Calls;

/* What Python reads and writes between two events: the first part of an engine. */
typedef struct {
  double now, python_time, partial_time, partial_since, next_sweep, next_lighten, grace, soon;
  uint64_t python_key, seq;
  int64_t asked, asking, ordered, undecided, unsettled, partial, alerts, repeated, victims, timeouts, first_young, first_open;
  int64_t transactions, in_doubt_open, locks_open, unpublished, redelivered, lost, next_parcel, parcels;
  int32_t over, measuring, error, steps, quantities, writing, nodes, slots, shared_slots, hub, entry, jitter, client_jitter;
  int32_t remote, insists, again, closed_workload, thinking, deadlocks, has_duration, bounds;
  int32_t has_broker, in_order, linger, acknowledgement, wake_on_commit, has_retention, broker_up, crashes, presumes, answered, beat, followed;
  int32_t has_breakers, threshold, has_budget, deadline_travels;
  int64_t suppressed; /* requests that the budget of all clients has prevented */
  int64_t held_back; /* messages that a breaker did not let go */
  int64_t handled; /* events of machines */
  int64_t memory, memory_limit; /* bytes that were taken, and that may be, 0: as many as there are */
  int32_t request[SHAPES], undo[STEPS], writes[STEPS], done_value, refused_value, tombstone_value;
  uint64_t behind[STEPS]; /* steps that come after each */
  uint64_t retriable;      /* steps that may not be refused */
  double deadline, client_timeout, warmup, duration, redelivery, deduplication, retention, publish_timeout, cooldown, factor_step;
  double budget_ratio, budget_burst, budget_saved; /* simtx.protocols.policies.RetryBudget */
} Head;

/* What was learned of the machines: it outlives an engine, and goes to the next one that plays the same scenario under the same strategy. */
typedef struct {
  int32_t *table, states, state_room, events, event_room; /* the transition of a state and an event, -1: it was not met */
  uint8_t *is_initial;
  int32_t *event_node, *event_sender, *state_ids; /* state_ids: how many ids of deliveries a machine holds in a state */
  int32_t (*delivery)[IDS + 1]; /* by message and id: the event that it is delivered */
  int32_t *courier; /* by message: the state of a courier who is given it by its sender, -1: none was yet */
  Transition *transition;
  int32_t transitions, transition_room;
  Effect *program;
  int32_t programs, program_room;
  Operation *operation;
  int32_t operations, operation_room;
  Template *template;
  int32_t templates, template_room;
  int32_t timer_event[TIMERS];
  double *number; /* constants of programs */
  int32_t numbers, number_room;
  int32_t *claim, claim_room; /* by event: what it says of which step, plus 1 */
  int32_t row_keys; /* how many idempotency rows a transaction may have */
  int32_t vote_event[REQUESTS][ALL_VOTES]; /* one more than the event that the vote store answers a request with this vote */
} Learned;

/* What events in outboxes have said of the steps of a transaction: done, that all are done, refused, refused in the end since undone. */
enum { SAYS_DONE, SAYS_COMPLETED, SAYS_REFUSED, SAYS_UNDONE, SAYINGS };
typedef struct { uint64_t step[SAYINGS]; } Claims;

/* What is noticed of a transaction while the run goes on: simtx.metrics.guarantees. */
enum { SPLIT = 1, DOUBLED = 2, EARLY = 4 };

/* Samples of the timeline: when the next one is due, by simtx.metrics.timeline.Clock, and the rows of those that were taken. */
typedef struct {
  double due, step;
  uint64_t key;
  int64_t since, doubling; /* behind the last arrival the step doubles after so many samples; 0: never */
  double *row;
  int64_t cells, room;
} Samples;

struct Engine {
  Head head;
  jmp_buf *escape; /* out of memory: where to go */
  Calls calls;
  Entry *heap;
  int64_t entries, heap_room;
  Generators generators;
  Stream stream[STREAMS];
  int32_t streams;
  Counts **counts, *free_counts, scratch;
  int64_t nobodys[STREAMS]; /* how many numbers of each stream were taken for no transaction */
  uint16_t scratched[STREAMS];
  int32_t counts_used, counts_room;
  Transaction *tx;
  int64_t tx_room;
  int16_t *actions, *undone;
  Claims *claims; /* what was told of each transaction; none without a broker */
  double *residuals;
  int64_t *order;
  uint32_t *rows;
  int32_t row_room;
  Gauge gauge[QUANTITIES];
  Samples samples;
  Node node[NODES];
  Host host[NODES];
  Process process[NODES], beside[NODES]; /* beside: the relay's, while it starts */
  int32_t starting[NODES]; /* how many processes of a node that was down still start */
  Link *link;
  int32_t links;
  Key *key;
  int32_t keys, key_room;
  Page *page;
  int64_t pages, page_room;
  double *demands; /* of every step of every transaction */
  int64_t demand_room;
  Learned learned;
  int32_t book[4096], books; /* slots whose operations add, by step */
  Lane **lane;
  int32_t lanes;
  double *bound;
  /* pools */
  Place *place;
  int64_t places, place_room;
  RunningMachine *free_actor;
  Work *free_work;
  Token *free_token;
  Flush *free_flush;
  Mail *free_mail;
  Call *free_call;
  Row *free_row;
  Record *free_record;
  Ending *free_ending;
  Rolled *free_rolled;
  Held *free_held;
  Waiting *free_waiting;
  Job *free_job;
  Shipped *free_shipped;
  Publication *free_publication;
  Parcel *free_parcel, **parcel; /* by id, in `buckets`, a power of two */
  int64_t buckets;
  int64_t next_lane;
  Seen *free_seen, **seen_at, *seen_first, *seen_last;
  Ballot *free_ballot;
  InLine *free_in_line;
  uint8_t *vote; /* by transaction and voter: what is durable in the vote store, 0: nothing */
  int64_t vote_room;
  int32_t votes_up;
  ProviderCall *free_asked;
  Known **known, *known_slab; /* by key, in `known_room` lists, a power of two */
  int64_t knowns, known_room;
  void **slabs;
  int32_t slab_count, slab_room;
  double arrival[AHEAD * PAGE];
  double factor[PAGE]; /* a piece of the common factor */
  int64_t factor_piece;
  int32_t writer; /* of the last forced write that may share its flush: its stream, since when, until when */
  double write_begun, write_ends;
  int32_t arrival_at, arrival_count;
  uint32_t seen;
};
