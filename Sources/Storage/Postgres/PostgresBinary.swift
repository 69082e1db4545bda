import Kernel

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The numbers of PostgreSQL's built-in types.
///
/// Those of pgvector differ from database to database.
enum PostgresType {
    static let bool: UInt32 = 16
    static let bytes: UInt32 = 17
    static let name: UInt32 = 19
    static let int8: UInt32 = 20
    static let int2: UInt32 = 21
    static let int4: UInt32 = 23
    static let text: UInt32 = 25
    static let oid: UInt32 = 26
    static let json: UInt32 = 114
    static let cidr: UInt32 = 650
    static let float4: UInt32 = 700
    static let float8: UInt32 = 701
    static let unknown: UInt32 = 705
    static let inet: UInt32 = 869
    static let nameArray: UInt32 = 1003
    static let textArray: UInt32 = 1009
    static let varcharArray: UInt32 = 1015
    static let bpchar: UInt32 = 1042
    static let varchar: UInt32 = 1043
    static let timestamp: UInt32 = 1184
    static let numeric: UInt32 = 1700
    static let uuid: UInt32 = 2950
    static let jsonb: UInt32 = 3802
    /// The first number that an extension's type can have.
    static let firstUserDefined: UInt32 = 16_384
}

// MARK: - Parameters

/// The parameters of one statement as libpq wants them.
///
/// Reused from statement to statement.
struct PostgresParameters {
    /// One message carries all parameters and may not pass 1 GiB; what is larger than this is a mistake anyway.
    static let maximumSize = 256 << 20

    private(set) var bytes: [UInt8] = []
    /// 0 for NULL: PostgreSQL infers the type.
    private(set) var types: [UInt32] = []
    /// Where each value begins in `bytes`; -1 for NULL.
    private(set) var offsets: [Int] = []
    private(set) var lengths: [Int32] = []
    /// 0 text, 1 binary.
    private(set) var formats: [Int32] = []

    var count: Int { types.count }

    mutating func removeAll() {
        // A huge statement's memory is not kept.
        bytes.removeAll(keepingCapacity: bytes.capacity <= 1 << 20)
        types.removeAll(keepingCapacity: true)
        offsets.removeAll(keepingCapacity: true)
        lengths.removeAll(keepingCapacity: true)
        formats.removeAll(keepingCapacity: true)
    }

    /// - Parameter vectorType: The number of pgvector's type, 0 when the extension is missing.
    mutating func append(_ value: SQLValue, vectorType: UInt32) throws(StorageError) {
        try value.checkStorable()
        let start = bytes.count
        let type: UInt32
        var format: Int32 = 1
        switch value {
        case .null:
            types.append(0)
            offsets.append(-1)
            lengths.append(0)
            formats.append(1)
            return
        case .bool(let flag):
            type = PostgresType.bool
            bytes.append(flag ? 1 : 0)
        case .integer(let number):
            type = PostgresType.int8
            put(number)
        case .double(let number):
            type = PostgresType.float8
            put(number.bitPattern)
        case .text(let text):
            type = PostgresType.text
            put(text)
        case .bytes(let value):
            type = PostgresType.bytes
            bytes += value
        case .uuid(let high, let low):
            type = PostgresType.uuid
            put(high)
            put(low)
        case .timestamp(let moment):
            type = PostgresType.timestamp
            put(PostgresBinary.microseconds(moment))
        case .json(let text):
            type = PostgresType.jsonb
            bytes.append(1)
            put(text)
        case .decimal(let text):
            type = PostgresType.numeric
            format = 0
            put(text)
        case .inet(let text):
            type = PostgresType.inet
            format = 0
            put(text)
        case .textArray(let texts):
            type = PostgresType.textArray
            guard let count = Int32(exactly: texts.count) else { throw .unstorable("a list that is too long") }
            put(Int32(texts.isEmpty ? 0 : 1))
            put(Int32(0))
            put(PostgresType.text)
            if !texts.isEmpty {
                put(count)
                put(Int32(1))
            }
            for text in texts {
                guard let length = Int32(exactly: text.utf8.count) else { throw .unstorable("a text that is too long") }
                put(length)
                put(text)
            }
        case .vector(let elements):
            guard vectorType != 0 else {
                throw .database(code: "42704", message: "the pgvector extension is not installed")
            }
            guard let count = UInt16(exactly: elements.count) else { throw .unstorable("a vector that is too long") }
            type = vectorType
            bytes.reserveCapacity(bytes.count + 5 + elements.count * 4)
            put(count)
            put(UInt16(0))
            for element in elements { put(element.bitPattern) }
        }
        let length = bytes.count - start
        guard bytes.count <= Self.maximumSize, let length = Int32(exactly: length) else {
            throw .unstorable("more than \(Self.maximumSize >> 20) MiB in one statement")
        }
        // Text format ends with it, and an empty value needs an address.
        bytes.append(0)
        types.append(type)
        offsets.append(start)
        lengths.append(length)
        formats.append(format)
    }

    private mutating func put<Number: FixedWidthInteger>(_ number: Number) {
        withUnsafeBytes(of: number.bigEndian) { bytes += $0 }
    }

    private mutating func put(_ text: String) {
        var text = text
        text.withUTF8 { bytes += $0 }
    }

    /// Calls `body` with the arrays that `PQsendQueryParams` and its kin take.
    func withPointers<Value>(
        _ body: (
            _ types: UnsafePointer<UInt32>?, _ values: UnsafePointer<UnsafePointer<CChar>?>?,
            _ lengths: UnsafePointer<Int32>?, _ formats: UnsafePointer<Int32>?
        ) -> Value
    ) -> Value {
        bytes.withUnsafeBytes { bytes in
            withUnsafeTemporaryAllocation(of: UnsafePointer<CChar>?.self, capacity: max(1, offsets.count)) { values in
                for (index, offset) in offsets.enumerated() {
                    values.initializeElement(
                        at: index,
                        to: offset < 0
                            ? nil : bytes.baseAddress.map { ($0 + offset).assumingMemoryBound(to: CChar.self) }
                    )
                }
                return types.withUnsafeBufferPointer { types in
                    lengths.withUnsafeBufferPointer { lengths in
                        formats.withUnsafeBufferPointer { formats in
                            body(
                                types.baseAddress,
                                UnsafePointer(values.baseAddress),
                                lengths.baseAddress,
                                formats.baseAddress
                            )
                        }
                    }
                }
            }
        }
    }
}

// MARK: - Results

/// Reads PostgreSQL's binary formats.
///
/// Everything is nil for bytes that do not fit: a server is outside, too.
enum PostgresBinary {
    /// 2000-01-01T00:00:00Z in Unix milliseconds, where PostgreSQL begins to count.
    private static let epoch: Int64 = 946_684_800_000

    static func microseconds(_ moment: Timestamp) -> Int64 { (moment.milliseconds - epoch) * 1_000 }

    /// nil for both infinities and for moments outside the years 1–9999.
    static func timestamp(_ bytes: UnsafeBufferPointer<UInt8>) -> Timestamp? {
        guard let microseconds = fixed(bytes, Int64.self) else { return nil }
        var milliseconds = microseconds / 1_000
        if microseconds % 1_000 < 0 { milliseconds -= 1 }
        let (unix, overflow) = milliseconds.addingReportingOverflow(epoch)
        guard !overflow, (Timestamp.earliest.milliseconds...Timestamp.latest.milliseconds).contains(unix) else {
            return nil
        }
        return Timestamp(milliseconds: unix)
    }

    /// A number that fills `bytes` exactly.
    static func fixed<Number: FixedWidthInteger>(_ bytes: UnsafeBufferPointer<UInt8>, _: Number.Type) -> Number? {
        guard bytes.count == MemoryLayout<Number>.size else { return nil }
        var reader = ByteReader(bytes)
        return reader.number()
    }

    static func uuid(_ bytes: UnsafeBufferPointer<UInt8>) -> (high: UInt64, low: UInt64)? {
        guard bytes.count == 16 else { return nil }
        var reader = ByteReader(bytes)
        guard let high = reader.number(UInt64.self), let low = reader.number(UInt64.self) else { return nil }
        return (high, low)
    }

    /// The plain notation of a `numeric`, with as many digits after the point as its scale says.
    ///
    /// nil for NaN and both infinities.
    static func decimal(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
        var reader = ByteReader(bytes)
        guard let count = reader.number(Int16.self), let weight = reader.number(Int16.self),
            let sign = reader.number(UInt16.self), let scale = reader.number(UInt16.self),
            count >= 0, sign == 0 || sign == 0x4000, reader.remaining == Int(count) * 2
        else { return nil }
        var groups: [Int16] = []
        groups.reserveCapacity(Int(count))
        for _ in 0..<count {
            guard let group = reader.number(Int16.self), (0...9_999).contains(group) else { return nil }
            groups.append(group)
        }
        func group(_ index: Int) -> Int { groups.indices.contains(index) ? Int(groups[index]) : 0 }

        var text = sign == 0 ? "" : "-"
        if weight < 0 {
            text += "0"
        } else {
            for index in 0...Int(weight) {
                let digits = String(group(index))
                if index > 0 { text += String(repeating: "0", count: 4 - digits.count) }
                text += digits
            }
        }
        if scale > 0 { text += "." }
        let powers = [1_000, 100, 10, 1]
        for position in 0..<Int(scale) {
            let digit = group(Int(weight) + 1 + position / 4) / powers[position % 4] % 10
            text += String(digit)
        }
        return text
    }

    /// `192.168.1.5`, `2001:db8::1`; the length of the network follows when it is not the whole address.
    static func inet(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
        guard bytes.count >= 4 else { return nil }
        let isVersion4 = bytes[0] == 2
        let size = isVersion4 ? 4 : 16
        guard isVersion4 || bytes[0] == 3, bytes[3] == UInt8(size), bytes.count == 4 + size, Int(bytes[1]) <= size * 8
        else { return nil }
        var buffer = [CChar](repeating: 0, count: 64)
        let address = UnsafeBufferPointer(rebasing: bytes[4...])
        guard inet_ntop(isVersion4 ? AF_INET : AF_INET6, address.baseAddress, &buffer, 64) != nil else { return nil }
        let text = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return bytes[2] != 0 || Int(bytes[1]) < size * 8 ? "\(text)/\(bytes[1])" : text
    }

    /// nil for NULL elements and for more than one dimension.
    static func textArray(_ bytes: UnsafeBufferPointer<UInt8>) -> [String]? {
        var reader = ByteReader(bytes)
        guard let dimensions = reader.number(Int32.self), reader.number(Int32.self) != nil,
            reader.number(UInt32.self) != nil
        else { return nil }
        if dimensions == 0 { return reader.remaining == 0 ? [] : nil }
        // Each element takes four bytes at least, which bounds what is reserved for them.
        guard dimensions == 1, let count = reader.number(Int32.self), reader.number(Int32.self) != nil, count >= 0,
            Int(count) <= reader.remaining / 4
        else { return nil }
        var texts: [String] = []
        texts.reserveCapacity(Int(count))
        for _ in 0..<count {
            guard let length = reader.number(Int32.self), length >= 0, let text = reader.bytes(Int(length)) else {
                return nil
            }
            texts.append(String(decoding: text, as: UTF8.self))
        }
        return reader.remaining == 0 ? texts : nil
    }

    static func vector(_ bytes: UnsafeBufferPointer<UInt8>) -> [Float]? {
        var reader = ByteReader(bytes)
        guard let count = reader.number(UInt16.self), reader.number(UInt16.self) == 0,
            reader.remaining == Int(count) * 4, let start = bytes.baseAddress
        else { return nil }
        let elements = UnsafeRawPointer(start) + 4
        return [Float](unsafeUninitializedCapacity: Int(count)) { buffer, initialized in
            for index in 0..<Int(count) {
                let bits = elements.loadUnaligned(fromByteOffset: index * 4, as: UInt32.self)
                buffer.initializeElement(at: index, to: Float(bitPattern: UInt32(bigEndian: bits)))
            }
            initialized = Int(count)
        }
    }

    /// Takes big-endian numbers off the front.
    private struct ByteReader {
        private let bytes: UnsafeRawBufferPointer
        private var offset = 0

        init(_ bytes: UnsafeBufferPointer<UInt8>) { self.bytes = UnsafeRawBufferPointer(bytes) }

        var remaining: Int { bytes.count - offset }

        mutating func number<Number: FixedWidthInteger>(_: Number.Type = Number.self) -> Number? {
            guard remaining >= MemoryLayout<Number>.size else { return nil }
            defer { offset += MemoryLayout<Number>.size }
            return Number(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Number.self))
        }

        mutating func bytes(_ count: Int) -> UnsafeRawBufferPointer? {
            guard count >= 0, remaining >= count else { return nil }
            defer { offset += count }
            return UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count])
        }
    }
}
