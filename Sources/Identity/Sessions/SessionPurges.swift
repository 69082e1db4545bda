import Kernel
import Storage

extension Session {
    /// How long after its end a session is kept, so that one can still see where it came from.
    private static let kept = Duration.seconds(30 * 86_400)

    static let purge = Purge("sessions", batch: 500) { now, limit in
        """
        DELETE FROM sessions WHERE (organization_id, id) IN (
            SELECT organization_id, id FROM sessions WHERE expires_at < \(now - kept)
            ORDER BY expires_at LIMIT \(limit: limit)
        )
        """
    }
}

extension RefreshToken {
    /// Of sessions that go on: a token past its end is refused whether it was used or not.
    static let purge = Purge("refresh_tokens", batch: 500) { now, limit in
        """
        DELETE FROM refresh_tokens WHERE (organization_id, session_id, token_hash) IN (
            SELECT organization_id, session_id, token_hash FROM refresh_tokens WHERE expires_at <= \(now)
            ORDER BY expires_at LIMIT \(limit: limit)
        )
        """
    }
}

extension Invitation {
    /// Invitations that nobody can accept any more.
    static let purge = Purge("invitations", batch: 500) { now, limit in
        """
        DELETE FROM invitations WHERE (organization_id, id) IN (
            SELECT organization_id, id FROM invitations WHERE expires_at <= \(now)
            ORDER BY expires_at LIMIT \(limit: limit)
        )
        """
    }
}
