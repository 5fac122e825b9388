import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Scanner;
import java.util.concurrent.Executors;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** Is run while the image is built: what it uses is in the cache afterwards. */
public class Training {
    sealed interface Shape permits Circle, Square {}

    record Circle(double radius) implements Shape {}

    record Square(double side) implements Shape {}

    static double area(Shape shape) {
        return switch (shape) {
            case Circle c -> Math.PI * c.radius() * c.radius();
            case Square s -> s.side() * s.side();
        };
    }

    public static void main(String[] args) throws Exception {
        Map<String, Integer> counts = new HashMap<>();
        try (Scanner in = new Scanner(System.in)) {
            while (in.hasNextInt()) {
                counts.merge("sum", in.nextInt(), Integer::sum);
            }
        }
        List<Shape> shapes = new ArrayList<>(List.of(new Circle(1), new Square(2)));
        String text = shapes.stream().map(s -> String.format("%.2f", area(s))).collect(Collectors.joining(", "));
        try (var pool = Executors.newFixedThreadPool(2)) {
            text += " " + pool.submit(() -> IntStream.range(0, 1000).filter(n -> n % 7 == 0).sum()).get();
        }
        Path file = Files.createTempFile("training", ".txt");
        Files.writeString(file, text);
        System.out.println(Files.readString(file) + " " + counts);
        Files.delete(file);
        try {
            throw new IOException("an exception");
        } catch (IOException e) {
            System.err.println(e.getMessage());
        }
    }
}
