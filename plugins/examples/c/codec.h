/* Messages as bytes and back. One function for each type does both, so the two directions cannot
   differ: `visit` either writes what is there, or fills in what was read.

   Numbers are little-endian, texts and lists have their length before them. What others send is not
   trusted: a length is checked against what is left before anything is allocated for it. */
#ifndef CODEC_H
#define CODEC_H

#include <stdlib.h>
#include <string.h>

#include "bus_transport.h"

typedef struct {
  bool reads, failed;
  /* Neither: frees the attachments, which the generated code forgets (wit-bindgen 0.63). */
  bool frees;
  /* Writing begins without memory, which only counts: `len` is then what it will take. */
  uint8_t *bytes;
  size_t len, at;
} codec_t;

/* Nothing for nothing: the generated code frees no empty text and no empty list. */
static inline void *some(size_t count, size_t size) {
  if (count == 0) return NULL;
  void *memory = calloc(count, size);
  /* The host ends the instance and starts another one. */
  if (memory == NULL) __builtin_trap();
  return memory;
}

static inline void visit_raw(codec_t *c, void *value, size_t size) {
  if (size == 0) return;
  if (c->reads) {
    if (c->failed || size > c->len - c->at) {
      c->failed = true;
      memset(value, 0, size);
      return;
    }
    memcpy(value, c->bytes + c->at, size);
    c->at += size;
    return;
  }
  if (c->bytes != NULL) memcpy(c->bytes + c->len, value, size);
  c->len += size;
}

static inline void visit_bool(codec_t *c, bool *value) {
  uint8_t byte = *value;
  visit_raw(c, &byte, 1);
  if (byte > 1) c->failed = true;
  *value = byte == 1;
}

/* A length, each unit of which takes at least one byte. */
static inline size_t visit_len(codec_t *c, size_t len) {
  uint32_t count = (uint32_t)len;
  visit_raw(c, &count, sizeof count);
  if (c->reads && count > c->len - c->at) {
    c->failed = true;
    return 0;
  }
  return count;
}

static inline void visit_bytes(codec_t *c, uint8_t **ptr, size_t *len) {
  *len = visit_len(c, *len);
  if (c->reads) *ptr = some(*len, 1);
  visit_raw(c, *ptr, *len);
}

static inline void visit_text(codec_t *c, bus_transport_string_t *text) {
  visit_bytes(c, &text->ptr, &text->len);
}

/* The contract's texts are UTF-8, and the canonical ABI traps over others: a frame that brings some
   ends this instance, and the host skips the frame when it does so again. */

#define VISIT_OPTION(c, option, visit)            \
  do {                                            \
    visit_bool((c), &(option)->is_some);          \
    if ((option)->is_some) visit((c), &(option)->val); \
  } while (0)

#define VISIT_LIST(c, list, visit)                                     \
  do {                                                                 \
    (list)->len = visit_len((c), (list)->len);                         \
    if ((c)->reads) (list)->ptr = some((list)->len, sizeof *(list)->ptr); \
    for (size_t n = 0; n < (list)->len; n++) visit((c), &(list)->ptr[n]); \
  } while (0)

#define M(name) switchboard_transport_messages_##name##_t

static void visit_attachment(codec_t *c, bus_transport_list_u8_t *bytes) {
  visit_bytes(c, &bytes->ptr, &bytes->len);
  if (c->frees && bytes->len > 0) free(bytes->ptr);
}

static void visit_attachments(codec_t *c, bus_transport_list_list_u8_t *attachments) {
  VISIT_LIST(c, attachments, visit_attachment);
  if (c->frees) {
    if (attachments->len > 0) free(attachments->ptr);
    memset(attachments, 0, sizeof *attachments);
  }
}

static void visit_payload(codec_t *c, M(payload) *payload) {
  visit_text(c, &payload->json);
  VISIT_OPTION(c, &payload->attachments, visit_attachments);
}

static void visit_room(codec_t *c, M(room) *room) {
  visit_raw(c, &room->tag, 1);
  if (room->tag == SWITCHBOARD_TRANSPORT_MESSAGES_ROOM_TEXT) {
    visit_text(c, &room->val.text);
  } else if (room->tag == SWITCHBOARD_TRANSPORT_MESSAGES_ROOM_NUMBER) {
    visit_raw(c, &room->val.number, sizeof room->val.number);
  } else {
    room->tag = SWITCHBOARD_TRANSPORT_MESSAGES_ROOM_NUMBER;
    c->failed = true;
  }
}

static void visit_rooms(codec_t *c, M(list_room) *rooms) {
  VISIT_LIST(c, rooms, visit_room);
}

static void visit_target(codec_t *c, M(target) *target) {
  visit_rooms(c, &target->rooms);
  VISIT_OPTION(c, &target->except, visit_rooms);
  visit_bool(c, &target->volatile_);
  VISIT_OPTION(c, &target->other_flags, visit_text);
}

static void visit_socket(codec_t *c, M(socket) *socket) {
  visit_text(c, &socket->id);
  VISIT_LIST(c, &socket->rooms, visit_room);
  visit_payload(c, &socket->handshake);
  visit_payload(c, &socket->data);
}

static void visit_room_change(codec_t *c, M(room_change) *change) {
  visit_target(c, &change->target);
  VISIT_LIST(c, &change->rooms, visit_room);
}

static void visit_query(codec_t *c, M(query) *query) {
  visit_text(c, &query->request);
  visit_target(c, &query->target);
}

static void visit_value_answer(codec_t *c, M(value_answer) *answer) {
  visit_text(c, &answer->request);
  VISIT_OPTION(c, &answer->data, visit_payload);
  VISIT_OPTION(c, &answer->error, visit_text);
}

static void visit_body(codec_t *c, M(body) *body) {
  visit_raw(c, &body->tag, 1);
  switch (body->tag) {
    case SWITCHBOARD_TRANSPORT_MESSAGES_BODY_INITIAL_HEARTBEAT:
    case SWITCHBOARD_TRANSPORT_MESSAGES_BODY_HEARTBEAT:
    case SWITCHBOARD_TRANSPORT_MESSAGES_BODY_ADAPTER_CLOSE:
      break;
    case SWITCHBOARD_TRANSPORT_MESSAGES_BODY_BROADCAST:
      visit_target(c, &body->val.broadcast.target);
      visit_payload(c, &body->val.broadcast.data);
      VISIT_OPTION(c, &body->val.broadcast.packet_id, visit_text);
      VISIT_OPTION(c, &body->val.broadcast.request, visit_text);
      break;
    case SWITCHBOARD_TRANSPORT_MESSAGES_BODY_AGAIN:
      /* Never in a frame, which has no broadcast before it: see `visit_letter`. */
      if (c->reads) c->failed = true;
      visit_payload(c, &body->val.again);
      break;
    case SWITCHBOARD_TRANSPORT_MESSAGES_BODY_SOCKETS_JOIN:
    case SWITCHBOARD_TRANSPORT_MESSAGES_BODY_SOCKETS_LEAVE:
      visit_room_change(c, &body->val.sockets_join);
      break;
    case SWITCHBOARD_TRANSPORT_MESSAGES_BODY_DISCONNECT_SOCKETS:
      visit_target(c, &body->val.disconnect_sockets.target);
      visit_bool(c, &body->val.disconnect_sockets.close);
      break;
    case SWITCHBOARD_TRANSPORT_MESSAGES_BODY_FETCH_SOCKETS:
    case SWITCHBOARD_TRANSPORT_MESSAGES_BODY_FETCH_ROOMS:
      visit_query(c, &body->val.fetch_sockets);
      break;
    case SWITCHBOARD_TRANSPORT_MESSAGES_BODY_SERVER_EVENT:
      visit_payload(c, &body->val.server_event.data);
      VISIT_OPTION(c, &body->val.server_event.request, visit_text);
      break;
    case SWITCHBOARD_TRANSPORT_MESSAGES_BODY_CUSTOM_QUERY:
      visit_text(c, &body->val.custom_query.request);
      visit_text(c, &body->val.custom_query.kind);
      visit_payload(c, &body->val.custom_query.data);
      break;
    case SWITCHBOARD_TRANSPORT_MESSAGES_BODY_SOCKETS_ANSWER:
      visit_text(c, &body->val.sockets_answer.request);
      VISIT_LIST(c, &body->val.sockets_answer.sockets, visit_socket);
      break;
    case SWITCHBOARD_TRANSPORT_MESSAGES_BODY_CLIENT_COUNT:
      visit_text(c, &body->val.client_count.request);
      visit_raw(c, &body->val.client_count.clients, sizeof body->val.client_count.clients);
      break;
    case SWITCHBOARD_TRANSPORT_MESSAGES_BODY_CLIENT_ACK:
      visit_text(c, &body->val.client_ack.request);
      VISIT_OPTION(c, &body->val.client_ack.socket, visit_text);
      visit_payload(c, &body->val.client_ack.data);
      VISIT_OPTION(c, &body->val.client_ack.error, visit_text);
      break;
    case SWITCHBOARD_TRANSPORT_MESSAGES_BODY_ROOMS_ANSWER:
      visit_text(c, &body->val.rooms_answer.request);
      VISIT_LIST(c, &body->val.rooms_answer.rooms, visit_room);
      break;
    case SWITCHBOARD_TRANSPORT_MESSAGES_BODY_SERVER_EVENT_ANSWER:
    case SWITCHBOARD_TRANSPORT_MESSAGES_BODY_CUSTOM_ANSWER:
      visit_value_answer(c, &body->val.custom_answer);
      break;
    default:
      body->tag = SWITCHBOARD_TRANSPORT_MESSAGES_BODY_HEARTBEAT;
      c->failed = true;
  }
}

/* A message, and what it has in common with its neighbours. */
typedef struct {
  bus_transport_string_t *namespace_, *sender;
  M(message) *message;
  /* An `again` only: whom the broadcast before it is for. It belongs to that broadcast. */
  M(target) *target;
} letter_t;

static void visit_letter(codec_t *c, letter_t *letter) {
  visit_text(c, letter->namespace_);
  visit_text(c, letter->sender);
  VISIT_OPTION(c, &letter->message->recipient, visit_text);
  M(body) *body = &letter->message->body;
  if (letter->target == NULL) {
    visit_body(c, body);
    return;
  }
  /* Only borrowed for the writing, so there is nothing to free. */
  M(body) whole = {.tag = SWITCHBOARD_TRANSPORT_MESSAGES_BODY_BROADCAST};
  whole.val.broadcast = (M(broadcast)){.target = *letter->target, .data = body->val.again};
  visit_body(c, &whole);
}

static void free_attachments(M(body) *body) {
  codec_t freeing = {.frees = true};
  visit_body(&freeing, body);
}

#endif
