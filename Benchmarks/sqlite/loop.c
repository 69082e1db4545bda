// The limit of "post a message" on SQLite: one thread that runs the statements of MessageService.post on a copy of the
// server's database, prepared once, with a FULL commit for each message.
//
//     loop DATABASE ORGANIZATION CONVERSATIONS SECONDS
//
// CONVERSATIONS is a file with one id a line. Prints the commits and the seconds they took.
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { most = 1000, idLength = 36 };

static sqlite3 *db;

static void check(int status) {
    if (status == SQLITE_OK || status == SQLITE_DONE || status == SQLITE_ROW) return;
    fprintf(stderr, "loop: %s\n", sqlite3_errmsg(db));
    exit(1);
}

static sqlite3_stmt *prepare(const char *text) {
    sqlite3_stmt *statement;
    check(sqlite3_prepare_v3(db, text, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL));
    return statement;
}

static void bind(sqlite3_stmt *statement, int place, const char *text) {
    check(sqlite3_bind_text(statement, place, text, -1, SQLITE_STATIC));
}

static void run(sqlite3_stmt *statement) {
    check(sqlite3_step(statement));
    check(sqlite3_reset(statement));
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// Ids that grow with time, like the server's.
static void makeID(char *text, const struct timespec *now, unsigned count, unsigned kind) {
    unsigned long long milliseconds = (unsigned long long)now->tv_sec * 1000 + (unsigned long long)now->tv_nsec / 1000000;
    snprintf(text, idLength + 1, "%08llx-%04llx-7%03x-8%03x-%08x%04x", (milliseconds >> 16) & 0xffffffff,
        milliseconds & 0xffff, count & 0xfff, kind, count, (unsigned)rand() & 0xffff);
}

int main(int argc, char **argv) {
    static char conversations[most][64];
    int count = 0;
    if (argc != 5) return 2;
    const char *organization = argv[2];
    double limit = atof(argv[4]);
    FILE *file = fopen(argv[3], "r");
    if (!file) return 2;
    while (count < most && fgets(conversations[count], sizeof conversations[count], file)) {
        conversations[count][strcspn(conversations[count], "\n")] = 0;
        count++;
    }
    fclose(file);
    if (count == 0) return 2;

    check(sqlite3_open_v2(argv[1], &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL));
    // As Sources/Storage/SQLite/SQLiteDatabase.swift sets them.
    check(sqlite3_exec(db,
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 10000; "
        "PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -32000; PRAGMA mmap_size = 0; "
        "PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = ON",
        NULL, NULL, NULL));

    sqlite3_stmt *begin = prepare("BEGIN IMMEDIATE"), *commit = prepare("COMMIT");
    sqlite3_stmt *find = prepare(
        "SELECT id, contact_id, channel_id, ai_agent_id, status, handled_by, version, reply_state, reply_error, "
        "last_sequence, exclusive, external_id, metadata, last_message_at, created_at, updated_at "
        "FROM conversations WHERE organization_id = ?1 AND id = ?2");
    sqlite3_stmt *answering = prepare(
        "SELECT epoch, state, error, question_id, started_at FROM answerings "
        "WHERE organization_id = ?1 AND conversation_id = ?2");
    sqlite3_stmt *message = prepare(
        "INSERT INTO messages (organization_id, id, conversation_id, direction, role, content, external_id, metadata, "
        "created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
    sqlite3_stmt *entry = prepare(
        "INSERT INTO conversation_events (organization_id, conversation_id, sequence, type, message_id, data, "
        "created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
    sqlite3_stmt *event = prepare(
        "INSERT INTO events (transaction_number, organization_id, id, type, resource, subject_id, actor_kind, actor_id, "
        "data, changes, request_id, ip_address, user_agent, created_at) "
        "VALUES (0, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)");
    sqlite3_stmt *update = prepare(
        "UPDATE conversations SET ai_agent_id = ?1, status = ?2, handled_by = ?3, version = ?4, reply_state = ?5, "
        "reply_error = ?6, last_sequence = ?7, metadata = ?8, last_message_at = ?9, updated_at = ?10 "
        "WHERE organization_id = ?11 AND id = ?12");
    const char *content = getenv("BENCH_CONTENT");
    if (!content) content = "Where is my parcel?";

    double started = seconds(), ended = started;
    unsigned done = 0;
    while (ended - started < limit) {
        const char *conversation = conversations[rand() % count];
        char messageID[idLength + 1], eventID[idLength + 1], requestID[idLength + 1], time[40], data[400];
        struct timespec now;
        struct tm parts;
        clock_gettime(CLOCK_REALTIME, &now);
        gmtime_r(&now.tv_sec, &parts);
        size_t length = strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &parts);
        snprintf(time + length, sizeof time - length, ".%03ldZ", now.tv_nsec / 1000000);
        makeID(messageID, &now, done, 1);
        makeID(eventID, &now, done, 2);
        makeID(requestID, &now, done, 3);
        snprintf(data, sizeof data,
            "{\"id\":\"%s\",\"conversation_id\":\"%s\",\"direction\":\"inbound\",\"role\":\"user\"}", messageID,
            conversation);

        run(begin);
        bind(find, 1, organization);
        bind(find, 2, conversation);
        if (sqlite3_step(find) != SQLITE_ROW) {
            fprintf(stderr, "loop: no conversation %s\n", conversation);
            return 1;
        }
        sqlite3_int64 version = sqlite3_column_int64(find, 6), sequence = sqlite3_column_int64(find, 9) + 1;
        check(sqlite3_reset(find));
        bind(answering, 1, organization);
        bind(answering, 2, conversation);
        run(answering);

        bind(message, 1, organization);
        bind(message, 2, messageID);
        bind(message, 3, conversation);
        bind(message, 4, "inbound");
        bind(message, 5, "user");
        bind(message, 6, content);
        check(sqlite3_bind_null(message, 7));
        bind(message, 8, "{}");
        bind(message, 9, time);
        run(message);

        bind(entry, 1, organization);
        bind(entry, 2, conversation);
        check(sqlite3_bind_int64(entry, 3, sequence));
        bind(entry, 4, "message.created");
        bind(entry, 5, messageID);
        bind(entry, 6, "{}");
        bind(entry, 7, time);
        run(entry);

        bind(event, 1, organization);
        bind(event, 2, eventID);
        bind(event, 3, "message.created");
        bind(event, 4, "message");
        bind(event, 5, messageID);
        bind(event, 6, "api_key");
        bind(event, 7, organization);
        bind(event, 8, data);
        check(sqlite3_bind_null(event, 9));
        bind(event, 10, requestID);
        bind(event, 11, "127.0.0.1");
        check(sqlite3_bind_null(event, 12));
        bind(event, 13, time);
        run(event);

        check(sqlite3_bind_null(update, 1));
        bind(update, 2, "active");
        bind(update, 3, "human");
        check(sqlite3_bind_int64(update, 4, version));
        bind(update, 5, "idle");
        check(sqlite3_bind_null(update, 6));
        check(sqlite3_bind_int64(update, 7, sequence));
        bind(update, 8, "{}");
        bind(update, 9, time);
        bind(update, 10, time);
        bind(update, 11, organization);
        bind(update, 12, conversation);
        run(update);
        run(commit);
        done++;
        ended = seconds();
    }
    printf("%u %.6f\n", done, ended - started);
    return 0;
}
