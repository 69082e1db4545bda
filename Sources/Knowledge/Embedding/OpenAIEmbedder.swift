package import Kernel
package import Outbound

/// `POST /embeddings` of OpenAI and of servers that speak like it.
///
/// Source: `protocols/openai.md` §3, §5.
package struct OpenAICompatibleEmbedder: Embedder {
    /// What one request may hold.
    ///
    /// Tokens are counted as bytes, of which there are never fewer.
    package struct Limits: Sendable {
        package var texts: Int
        package var bytes: Int
        /// A longer text is refused before it is sent: 8,191 tokens have at most about this many bytes.
        package var bytesPerText: Int

        package init(texts: Int = 256, bytes: Int = 300_000, bytesPerText: Int = 32_764) {
            self.texts = min(max(texts, 1), 2_048)
            self.bytes = max(bytes, 1)
            self.bytesPerText = max(bytesPerText, 1)
        }
    }

    package let model: String

    private let client: OutboundClient
    private let endpoint: OpenAIEndpoint
    private let limits: Limits
    private let sendsDimensions: Bool

    /// - Parameter sendsDimensions: Whether the server knows `dimensions`; nil decides by the name of the model, as only
    ///   `text-embedding-3*` does.
    package init(
        client: OutboundClient,
        endpoint: OpenAIEndpoint,
        model: String,
        limits: Limits = Limits(),
        sendsDimensions: Bool? = nil
    ) {
        self.client = client
        self.endpoint = endpoint
        self.model = model
        self.limits = limits
        self.sendsDimensions = sendsDimensions ?? model.hasPrefix("text-embedding-3")
    }

    package func embed(
        _ texts: [String],
        for organization: ID<OrganizationEntity>?,
        deadline: ContinuousClock.Instant
    ) async throws(ProviderError) -> [[Float]] {
        var vectors: [[Float]] = []
        vectors.reserveCapacity(texts.count)
        for batch in try batches(of: texts) {
            vectors += try await embed(batch: texts[batch], for: organization, deadline: deadline)
        }
        return vectors
    }

    func batches(of texts: [String]) throws(ProviderError) -> [Range<Int>] {
        var batches: [Range<Int>] = []
        var start = 0
        var bytes = 0
        for (index, text) in texts.enumerated() {
            let size = text.utf8.count
            guard size > 0 else { throw failure(.badRequest("a text to embed is empty")) }
            guard size <= limits.bytesPerText else { throw failure(.badRequest("a text to embed is too long")) }
            if index - start == limits.texts || bytes + size > limits.bytes, index > start {
                batches.append(start..<index)
                start = index
                bytes = 0
            }
            bytes += size
        }
        if start < texts.count { batches.append(start..<texts.count) }
        return batches
    }

    private func embed(
        batch: ArraySlice<String>,
        for organization: ID<OrganizationEntity>?,
        deadline: ContinuousClock.Instant
    ) async throws(ProviderError) -> [[Float]] {
        var request = endpoint.request(
            "embeddings",
            body: body(for: batch),
            organization: organization,
            deadline: deadline
        )
        // A float is at most about 16 characters of JSON, far more than in base64.
        request.maximumResponseBytes = 65_536 + batch.count * EmbeddingShape.dimensions * 24
        let response: OutboundResponse
        do throws(OutboundError) {
            response = try await client.send(request)
        } catch {
            throw ProviderError(error, provider: endpoint.provider)
        }
        guard response.isSuccess else {
            throw endpoint.failure(status: response.status, headers: response.headers, body: response.body)
        }
        return try vectors(in: response.body, count: batch.count)
    }

    private func body(for batch: ArraySlice<String>) -> [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        writer.key("model")
        writer.value(model)
        writer.key("input")
        writer.beginArray()
        for text in batch { writer.value(text) }
        writer.endArray()
        writer.key("encoding_format")
        writer.value("base64")
        if sendsDimensions {
            writer.key("dimensions")
            writer.value(EmbeddingShape.dimensions)
        }
        writer.endObject()
        return writer.bytes
    }

    // MARK: Reading

    func vectors(in body: [UInt8], count: Int) throws(ProviderError) -> [[Float]] {
        let limits = JSONLimits(values: 1_000 + count * (EmbeddingShape.dimensions + 16) * 2)
        guard let json = try? JSON(parsing: body, limits: limits) else { throw failure(.garbled("no JSON")) }
        if let error = endpoint.failure(in: json) { throw error }
        guard let data = json["data"]?.array else { throw failure(.garbled("no data")) }
        guard data.count == count else {
            throw failure(.garbled("\(data.count) vectors for \(count) texts"))
        }
        var vectors = [[Float]](repeating: [], count: count)
        for (position, entry) in data.enumerated() {
            let index: Int
            switch entry["index"] {
            case nil, .null?: index = position
            case let value?:
                guard let number = value.int, (0..<Int64(count)).contains(number) else {
                    throw failure(.garbled("an index out of range"))
                }
                index = Int(number)
            }
            guard vectors[index].isEmpty else { throw failure(.garbled("an index twice")) }
            vectors[index] = try vector(entry["embedding"])
        }
        return vectors
    }

    private func vector(_ json: JSON?) throws(ProviderError) -> [Float] {
        let values: [Float]
        switch json {
        case .string(let text)?:
            guard let decoded = EmbeddingCoding.floats(base64: text) else {
                throw failure(.garbled("a vector that is no base64 of floats"))
            }
            values = decoded
        case .array(let numbers)?:
            values = numbers.compactMap { $0.double.map { Float($0) } }
            guard values.count == numbers.count else { throw failure(.garbled("a vector with something else in it")) }
        default:
            throw failure(.garbled("no vector"))
        }
        guard values.count == EmbeddingShape.dimensions else {
            // The model has another size: asking again changes nothing.
            throw failure(
                .badRequest("the model has \(values.count) dimensions instead of \(EmbeddingShape.dimensions)")
            )
        }
        guard let unit = EmbeddingCoding.normalized(values) else {
            throw failure(.garbled("a vector that has no direction"))
        }
        return unit
    }

    private func failure(_ kind: ProviderError.Kind) -> ProviderError {
        ProviderError(kind, provider: endpoint.provider)
    }
}

/// The forms in which vectors travel.
package enum EmbeddingCoding {
    /// The little-endian `float32` array of a standard base64 text; nil when it is none.
    package static func floats(base64 text: String) -> [Float]? {
        guard let bytes = bytes(base64: text), bytes.count % 4 == 0 else { return nil }
        return stride(from: 0, to: bytes.count, by: 4).map { offset in
            let bits = bytes[offset..<offset + 4].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            return Float(bitPattern: bits)
        }
    }

    /// The vector of length 1 in the same direction; nil when a number is not finite or all are zero.
    package static func normalized(_ values: [Float]) -> [Float]? {
        let square = values.reduce(0.0) { $0 + Double($1) * Double($1) }
        guard square.isFinite, square > 0 else { return nil }
        let scale = 1 / square.squareRoot()
        guard scale.isFinite else { return nil }
        return values.map { Float(Double($0) * scale) }
    }

    private static func bytes(base64 text: String) -> [UInt8]? {
        let text = Array(text.utf8)
        guard text.count % 4 == 0 else { return nil }
        let padding = text.suffix(2).count { $0 == UInt8(ascii: "=") }
        let digits = text.dropLast(padding)
        guard padding < 2 || text[text.count - 2] == UInt8(ascii: "=") else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.count / 4 * 3)
        var bits: UInt32 = 0
        var count = 0
        for digit in digits {
            guard let value = digitValue(digit) else { return nil }
            bits = bits << 6 | value
            count += 6
            if count >= 8 {
                count -= 8
                bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
        }
        return bytes
    }

    private static func digitValue(_ byte: UInt8) -> UInt32? {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(byte - UInt8(ascii: "A"))
        case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(byte - UInt8(ascii: "a")) + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0")) + 52
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}
