import Storage

/// The full-text index of one text column, with the same words on both engines: letters and digits, case and Latin
/// diacritics folded, no stemming.
///
/// The index knows the organization of each row, so a search stays inside it. On SQLite it knows the rows by their `entry`.
enum FullText {
    static func index(_ table: String, column: String) -> [SQL] {
        sqliteLinks(table, column: column) + [
            RowSecurity.sqlite(
                """
                CREATE VIRTUAL TABLE \(table)_search USING fts5(
                    organization_id, \(column), content = '\(table)_words', content_rowid = 'entry',
                    tokenize = "unicode61 remove_diacritics 2"
                )
                """
            ),
            RowSecurity.postgres(
                """
                ALTER TABLE \(table) ADD COLUMN search_words tsvector GENERATED ALWAYS AS (
                    to_tsvector('simple', CASE WHEN octet_length(\(column)) = char_length(\(column))
                        -- ASCII: `translate` looks for each character in the whole list, so a short one saves most of it.
                        THEN translate(
                            lower(left(\(column), 200000)), '\(SearchFolding.separators)',
                            repeat(' ', \(SearchFolding.separators.count))
                        )
                        ELSE translate(
                            lower(left(\(column), 200000)), '\(SearchFolding.marked)\(SearchFolding.separators)',
                            '\(SearchFolding.plain)' || repeat(' ', \(SearchFolding.separators.count))
                        )
                    END) || array_to_tsvector(ARRAY['o' || replace(organization_id::text, '-', '')])
                ) STORED
                """
            ),
            RowSecurity.postgres("CREATE INDEX \(table)_search_idx ON \(table) USING gin (search_words)"),
            searchIsLeakproof,
        ]
    }

    /// What connects SQLite's text index with the table: a view that it reads, and triggers that keep it up to date.
    static func sqliteLinks(_ table: String, column: String) -> [SQL] {
        [
            // The organization is one word of SQLite's index; with its hyphens it would be a phrase of five.
            RowSecurity.sqlite(
                """
                CREATE VIEW \(table)_words AS
                SELECT entry, replace(organization_id, '-', '') AS organization_id, \(column) FROM \(table)
                """
            ),
            RowSecurity.sqlite(
                """
                CREATE TRIGGER \(table)_search_insert AFTER INSERT ON \(table) BEGIN
                    INSERT INTO \(table)_search (rowid, organization_id, \(column))
                    VALUES (new.entry, replace(new.organization_id, '-', ''), new.\(column));
                END
                """
            ),
            RowSecurity.sqlite(
                """
                CREATE TRIGGER \(table)_search_delete AFTER DELETE ON \(table) BEGIN
                    INSERT INTO \(table)_search (\(table)_search, rowid, organization_id, \(column))
                    VALUES ('delete', old.entry, replace(old.organization_id, '-', ''), old.\(column));
                END
                """
            ),
            RowSecurity.sqlite(
                """
                CREATE TRIGGER \(table)_search_update AFTER UPDATE OF \(column) ON \(table) BEGIN
                    INSERT INTO \(table)_search (\(table)_search, rowid, organization_id, \(column))
                    VALUES ('delete', old.entry, replace(old.organization_id, '-', ''), old.\(column));
                    INSERT INTO \(table)_search (rowid, organization_id, \(column))
                    VALUES (new.entry, replace(new.organization_id, '-', ''), new.\(column));
                END
                """
            ),
        ]
    }

    /// Lets the index be used under row level security.
    ///
    /// Conditions may be checked before the policy only when their operator is known not to tell about the rows that it
    /// sees. `@@` fails on no row and says nothing but yes or no; PostgreSQL just does not declare it so. Where the
    /// migrating user may not declare it, a search reads the organization's own rows instead of the index.
    private static let searchIsLeakproof = RowSecurity.postgres(
        """
        DO $$ BEGIN
            ALTER FUNCTION pg_catalog.ts_match_vq(tsvector, tsquery) LEAKPROOF;
        EXCEPTION WHEN insufficient_privilege THEN NULL;
        END $$
        """
    )
}
