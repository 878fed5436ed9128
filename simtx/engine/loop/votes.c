/* The vote store: simtx.simulator.vote_store. */

static int votes_room(Engine *E) { return E->head.nodes; } /* of one transaction: a voter is a node */

static int vote_of(Engine *E, int64_t tx, int voter) {
  int64_t place = tx * votes_room(E) + voter;
  return place < E->vote_room ? E->vote[place] : 0;
}

static void let_ballot(Engine *E, Ballot *ballot) {
  if (--ballot->refs == 0) free_ballot(E, ballot);
}

/* A request leaves its node; it and its answer count as messages. */
static void ask_votes(Engine *E, RunningMachine *actor, int request, int vote, int voter) {
  Transaction *T = record(E, actor->tx);
  if (T) T->messages += 2;
  Ballot *ballot = new_ballot(E);
  *ballot = (Ballot){actor, actor->gen, actor->node, E->node[actor->node].disk.epoch, request, vote, voter, 0, 1, actor->tx, NULL};
  ballot->refs += transmit(E, link_of(E, actor->node, VOTES), AT_THE_VOTES, ballot, 0, actor->tx);
  let_ballot(E, ballot);
}

static void answer_ballot(Engine *E, Ballot *ballot) {
  ballot->refs += transmit(E, link_of(E, VOTES, ballot->node), VOTE_ARRIVES, ballot, 0, ballot->tx);
}

/* The first vote of a row is on disk: it is the row's for ever, and whoever came meanwhile is told the same. */
static void vote_is_durable(Engine *E, int64_t tx, int voter) {
  Place *place = find_place(E, tx, VOTES);
  InLine *waiting = NULL, **last = &waiting;
  for (InLine **one = &place->line; *one;) {
    InLine *found = *one;
    if (found->ballot->voter != voter) { one = &found->next; continue; }
    *one = found->next;
    found->next = NULL;
    *last = found;
    last = &found->next;
  }
  drop_place(E, tx, VOTES);
  int64_t needed = (tx + 1) * votes_room(E);
  GROW(E->vote, 0, E->vote_room, needed)
  E->vote[tx * votes_room(E) + voter] = (uint8_t)waiting->ballot->vote;
  waiting->ballot->written = 1;
  while (waiting) {
    InLine *one = waiting;
    waiting = one->next;
    answer_ballot(E, one->ballot);
    let_ballot(E, one->ballot);
    free_in_line(E, one);
  }
}

/* A request arrives: it is answered, or its vote is forced, or it waits until one of the same row is. */
static void at_the_votes(Engine *E, Ballot *ballot) {
  if (!E->votes_up) return;
  int64_t tx = ballot->tx;
  int voter = ballot->voter, first = 1;
  if (vote_of(E, tx, voter)) { answer_ballot(E, ballot); return; }
  InLine **end = &have_place(E, tx, VOTES)->line;
  for (; *end; end = &(*end)->next)
    if ((*end)->ballot->voter == voter) first = 0;
  InLine *one = new_in_line(E);
  *one = (InLine){ballot, NULL};
  *end = one;
  ballot->refs++;
  if (!first) return;
  Disk *disk = &E->node[VOTES].disk;
  if (disk->instant) {
    note_instant(E, disk);
    vote_is_durable(E, tx, voter);
    return;
  }
  force(E, VOTES, make_flush(E, (Flush){.what = VOTED, .record = voter}), tx);
}

/* The answer arrives; whoever has asked may be gone. */
static void vote_arrives(Engine *E, Ballot *ballot) {
  RunningMachine *actor = ballot->actor;
  if (ballot->epoch != E->node[ballot->node].disk.epoch || !actor->alive || actor->gen != ballot->gen) return;
  int vote = vote_of(E, ballot->tx, ballot->voter);
  Transaction *T = ballot->written ? record(E, ballot->tx) : NULL;
  if (T) T->forced++;
  int32_t event = E->learned.vote_event[ballot->request][vote] - 1;
  if (event < 0) {
    event = ASK(E, vote(ballot->request, vote));
    if (event < 0) { fail(E, 3); return; }
    E->learned.vote_event[ballot->request][vote] = event + 1;
  }
  tell_producer(E, actor, ballot->gen, ballot->tx, 1, event);
}

/* Stop answering. What is not on disk yet is gone, and nobody was told of it. */
EXPORT void engine_votes_crash(Engine *E) {
  GUARD(E, )
  int64_t count, *known = places_of(E, VOTES, &count);
  E->votes_up = 0;
  for (int64_t i = 0; i < count; i++) {
    Place *place = find_place(E, known[i], VOTES);
    while (place->line) {
      InLine *one = place->line;
      place->line = one->next;
      let_ballot(E, one->ballot);
      free_in_line(E, one);
    }
    drop_place(E, known[i], VOTES);
  }
  free(known);
  crash_disk(E, &E->node[VOTES].disk);
}

/* Answer, or answer again, with every vote that was answered before. */
EXPORT void engine_votes_restart(Engine *E) { E->votes_up = 1; }
