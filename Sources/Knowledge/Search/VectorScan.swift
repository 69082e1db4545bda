/// Why a vector was refused.
package enum VectorScanError: Error, Hashable, Sendable {
    case wrongDimensions(expected: Int, found: Int)
    /// A component is NaN or infinite.
    case notFinite
}

/// The vectors of one organization in memory, searched exactly by cosine similarity.
///
/// A vector lives in a row. Rows are numbered from 0; a number stays until its vector is removed and then goes to a
/// later one, so that `[ChunkID?]` by row is all a caller has to keep. Vectors are normalised when they come in and lie
/// one after the other in slabs of `rowsPerSlab`. A copy shares the slabs, so a search on a copy does not stop
/// appends to the original: they duplicate only the slab they change.
package struct VectorScan: Sendable {
    package struct Neighbor: Hashable, Sendable {
        package let row: Int
        /// The cosine of the angle to the query, -1 to 1 up to rounding; 0 when either vector is zero.
        package let score: Float
    }

    private static let rowsPerSlab = 256

    /// Floats per row are a multiple of this; the last ones are zero.
    private static let lane = 8

    package let dimensions: Int

    /// The number of vectors.
    package var count: Int { isUsed.count - free.count }

    /// One more than the largest row number that was ever given.
    package var rows: Int { isUsed.count }

    private let stride: Int
    private var slabs: [[Float]] = []
    private var isUsed: [Bool] = []
    private var free: [Int] = []

    /// - Parameter dimensions: Moved into 1...65,536.
    package init(dimensions: Int) {
        self.dimensions = min(max(dimensions, 1), 65_536)
        stride = (self.dimensions + Self.lane - 1) / Self.lane * Self.lane
    }

    // MARK: Rows

    /// Stores a vector.
    ///
    /// - Returns: Its row: the one freed last, or a new one at the end.
    @discardableResult
    package mutating func append(_ vector: [Float]) throws(VectorScanError) -> Int {
        let normalised = try normalised(vector)
        if let row = free.popLast() {
            isUsed[row] = true
            let start = row % Self.rowsPerSlab * stride
            slabs[row / Self.rowsPerSlab].replaceSubrange(start..<start + stride, with: normalised)
            return row
        }
        let row = isUsed.count
        if row % Self.rowsPerSlab == 0 { slabs.append([]) }
        slabs[row / Self.rowsPerSlab].append(contentsOf: normalised)
        isUsed.append(true)
        return row
    }

    /// Frees a row.
    ///
    /// - Returns: Whether there was a vector in it.
    @discardableResult
    package mutating func remove(_ row: Int) -> Bool {
        guard contains(row) else { return false }
        isUsed[row] = false
        free.append(row)
        return true
    }

    package func contains(_ row: Int) -> Bool {
        isUsed.indices.contains(row) && isUsed[row]
    }

    /// The vector with length 1 and zeros up to the stride.
    private func normalised(_ vector: [Float]) throws(VectorScanError) -> [Float] {
        guard vector.count == dimensions else {
            throw .wrongDimensions(expected: dimensions, found: vector.count)
        }
        var squares = 0.0  // of Floats, so they cannot overflow a Double
        for component in vector { squares += Double(component) * Double(component) }
        guard squares.isFinite else { throw .notFinite }
        let scale = squares > 0 ? 1 / squares.squareRoot() : 0
        var result: [Float] = []
        result.reserveCapacity(stride)
        for component in vector { result.append(Float(Double(component) * scale)) }
        for _ in dimensions..<stride { result.append(0) }
        return result
    }

    // MARK: Search

    /// The rows most similar to a query, best first, equal scores by row.
    ///
    /// - Parameters:
    ///   - limit: The most rows to return; none when not positive.
    ///   - isAllowed: Asked about each row in use before its vector is read; all are allowed without it.
    package func nearest(
        to query: [Float],
        limit: Int,
        where isAllowed: ((Int) -> Bool)? = nil
    ) throws(VectorScanError) -> [Neighbor] {
        let query = try normalised(query)
        var best = BestMatches(limit: min(limit, count))
        guard best.limit > 0 else { return [] }
        var candidates: [Int] = []
        candidates.reserveCapacity(Self.rowsPerSlab)
        query.withUnsafeBytes { query in
            for (index, slab) in slabs.enumerated() {
                let first = index * Self.rowsPerSlab
                candidates.removeAll(keepingCapacity: true)
                for row in first..<min(first + Self.rowsPerSlab, rows) where isUsed[row] && isAllowed?(row) ?? true {
                    candidates.append(row)
                }
                slab.withUnsafeBytes { scan(candidates, of: $0, firstRow: first, for: query, into: &best) }
            }
        }
        return best.sorted()
    }

    /// Scores rows of one slab, four side by side.
    ///
    /// Reading four rows at once keeps more memory requests in flight: 0.25 to 0.45 µs a vector of 1,536 where one row
    /// after the other takes 0.6.
    private func scan(
        _ rows: [Int],
        of slab: UnsafeRawBufferPointer,
        firstRow: Int,
        for query: UnsafeRawBufferPointer,
        into best: inout BestMatches
    ) {
        guard let query = query.baseAddress, let vectors = slab.baseAddress, let last = rows.last else { return }
        let width = stride * MemoryLayout<Float>.size
        var next = 0
        while next < rows.count {
            // The last four are filled up with the last row, so that all sums are made in the same order.
            func row(_ place: Int) -> Int { next + place < rows.count ? rows[next + place] : last }
            func vector(_ place: Int) -> UnsafeRawPointer { vectors + (row(place) - firstRow) * width }
            let scores = Self.dots(query, (vector(0), vector(1), vector(2), vector(3)), width: width)
            for place in 0..<min(4, rows.count - next) { best.offer(rows[next + place], scores[place]) }
            next += 4
        }
    }

    /// The dot products of a query with four vectors of `width` bytes, a multiple of one lane.
    @inline(__always)
    private static func dots(
        _ query: UnsafeRawPointer,
        _ vectors: (UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer),
        width: Int
    ) -> SIMD4<Float> {
        typealias FloatBlock = SIMD8<Float>
        var (sum0, sum1, sum2, sum3) = (FloatBlock.zero, FloatBlock.zero, FloatBlock.zero, FloatBlock.zero)
        var offset = 0
        while offset < width {
            let part = query.loadUnaligned(fromByteOffset: offset, as: FloatBlock.self)
            sum0 += part * vectors.0.loadUnaligned(fromByteOffset: offset, as: FloatBlock.self)
            sum1 += part * vectors.1.loadUnaligned(fromByteOffset: offset, as: FloatBlock.self)
            sum2 += part * vectors.2.loadUnaligned(fromByteOffset: offset, as: FloatBlock.self)
            sum3 += part * vectors.3.loadUnaligned(fromByteOffset: offset, as: FloatBlock.self)
            offset += MemoryLayout<FloatBlock>.size
        }
        return SIMD4(sum0.sum(), sum1.sum(), sum2.sum(), sum3.sum())
    }
}

/// A bounded heap with the worst match on top.
///
/// Rows must come in ascending order.
private struct BestMatches {
    let limit: Int
    private var heap: [VectorScan.Neighbor] = []

    init(limit: Int) {
        self.limit = limit
    }

    private static func isWorse(_ left: VectorScan.Neighbor, _ right: VectorScan.Neighbor) -> Bool {
        left.score == right.score ? left.row > right.row : left.score < right.score
    }

    @inline(__always)
    mutating func offer(_ row: Int, _ score: Float) {
        if heap.count < limit {
            heap.append(VectorScan.Neighbor(row: row, score: score))
            siftUp()
        } else if score > heap[0].score {
            heap[0] = VectorScan.Neighbor(row: row, score: score)
            siftDown()
        }
    }

    private mutating func siftUp() {
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard Self.isWorse(heap[child], heap[parent]) else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    private mutating func siftDown() {
        var parent = 0
        while true {
            var worst = parent
            for child in 2 * parent + 1...2 * parent + 2
            where child < heap.count && Self.isWorse(heap[child], heap[worst]) {
                worst = child
            }
            if worst == parent { return }
            heap.swapAt(parent, worst)
            parent = worst
        }
    }

    func sorted() -> [VectorScan.Neighbor] {
        heap.sorted { Self.isWorse($1, $0) }
    }
}
